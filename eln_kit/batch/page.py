"""An executed notebook as one HTML page that needs no network: equations as MathML, no script from elsewhere."""

import logging
import re
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from eln_kit.batch.templating import without_home
from eln_kit.paths import write_whole

EQUATION = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$", re.DOTALL)
SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)


def export(executed: Path) -> None:
    """Write `<name>.html` beside an executed notebook, if it is there."""
    if not executed.is_file():
        return
    notebook, equations = nbformat.read(executed, as_version=4), []

    def mark(equation: re.Match) -> str:  # nbconvert would take MathML away
        text, display = (equation["block"], "block") if equation["block"] else (equation["inline"], "inline")
        equations.append(convert(" ".join(text.split()), display=display))
        return f"equation-{len(equations) - 1}-here"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = EQUATION.sub(mark, cell.source)
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # it misses alternative texts of figures
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook, {"metadata": {"name": executed.stem}})
    page = SCRIPT.sub(lambda script: "" if "https://" in script[0] or "MathJax" in script[0] else script[0], page)
    page = re.sub(r"equation-(\d+)-here", lambda marked: equations[int(marked[1])], page)
    write_whole(executed.with_suffix(".html"), without_home(page))
