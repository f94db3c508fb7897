"""The site: `make docs`. Pages are the Markdown files of this folder; what is made at build time lies in `_made`."""

import re
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.errors import ConfigError

HERE = Path(__file__).parent
MORE = ("toy_method", "error_lab", "5_compare", "6_label_next")  # as make docs has executed them, else as they are
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

from eln_kit import __version__  # noqa: E402
from eln_kit.batch.state import NOTEBOOKS  # noqa: E402

project, author, release = "eln-kit", "the authors of eln-kit", __version__
extensions = ["myst_nb", "sphinx_copybutton", *(f"sphinx.ext.{name}" for name in ("autodoc", "napoleon", "viewcode"))]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"
default_role = "code"  # docstrings have one backtick around names
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
viewcode_follow_imported_members = False  # else links lead to anchors that are not there
html_theme = "furo"
html_title = f"eln-kit {release}"
html_static_path, html_css_files = ["_static"], ["site.css"]
html_show_sphinx = html_show_copyright = html_copy_source = False


def setup(app) -> None:
    app.add_config_value("eln_run", "runs/shapes", "env")
    app.add_html_math_renderer("mathml", (reference.inline, None), (reference.block, None))
    app.connect("config-inited", make_pages)
    app.connect("source-read", stay_on_the_site)


def make_pages(app, config) -> None:
    """Copy the run's executed notebooks, and write the pages of knobs and commands."""
    run, made = HERE.parent / config.eln_run, HERE / "_made"
    executed = [run / f"{name}.ipynb" for name in NOTEBOOKS]
    if missing := [file for file in executed if not file.is_file()]:
        raise ConfigError(f"{missing[0]}: is not there; make run makes it, and make docs RUN=... takes another run")
    shutil.rmtree(made, ignore_errors=True)
    for folder in ("tutorial", "api"):
        (made / folder).mkdir(parents=True)
    for name in MORE:
        places = (run / f"{name}.ipynb", HERE.parent / "notebooks" / f"{name}.ipynb")
        executed.append(next(file for file in places if file.is_file()))
    for file in executed:
        notebook = nbformat.read(file, as_version=4)
        notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        text = nbformat.writes(notebook).replace(f"{HERE.parent}/", "")  # paths as a reader has them
        (made / "tutorial" / file.name).write_text(text)
    pages = {"contributing": (HERE.parent / "CONTRIBUTING.md").read_text().replace("](docs/", "](../")}
    pages |= {"knobs": reference.knobs(), "commands": reference.commands()}
    pages |= {f"api/{name}": text for name, text in reference.api().items()}
    for name, text in pages.items():
        (made / f"{name}.md").write_text(text)


def stay_on_the_site(_app, _page, source: list[str]) -> None:
    """Links into the repository, which are for readers on GitHub, lead to the page made of that file."""
    text = re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", r"](_made/tutorial/\1.ipynb)", source[0])
    text = re.sub(r"\]\(\.\./eln_kit/(\w+)/(\w+)\.py\)", r"](_made/api/eln_kit.\1.md#eln_kit\1\2)", text)
    source[0] = unbroken(text.replace("](../CONTRIBUTING.md)", "](_made/contributing.md)"))


def unbroken(text: str) -> str:
    """In tables, spaces inside a figure such as `0.5 ± 0.1` or `+1 to +2` become no-break spaces."""
    row = re.compile(r"^\|.*$", re.MULTILINE)
    figure = re.compile(
        r"(?<=\d) (?=±)|(?<=±) |(?<=\d) (?=to [+-]?\d)|(?<=\d to) (?=[+-]?\d)|(?<=least) |(?<=random) (?=\d)"
    )
    return row.sub(lambda line: figure.sub("\u00a0", line[0]), text)
