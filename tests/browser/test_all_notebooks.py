"""Every notebook, opened in JupyterLab in the order of the start page and run by Run All, ends without an error."""

import re
import shutil

import nbformat
import pytest
import yaml
from conftest import TINY

from eln_kit.paths import project_root
from eln_kit.store.params_file import build

jupyter_lab = pytest.importorskip("jupyter_lab", reason="playwright is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,  # by day papermill runs them all, and the error lab runs in the browser
    pytest.mark.skipif(jupyter_lab.CHROMIUM is None, reason="chromium is not installed"),
]

NOTEBOOKS = project_root() / "notebooks"
READING = list(dict.fromkeys(re.findall(r"\((\w+\.ipynb)\)", (NOTEBOOKS / "README.md").read_text())))


def test_all_notebooks_run_in_jupyterlab_one_after_the_other(scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(NOTEBOOKS, tmp_path / "notebooks")
    (tmp_path / "params").mkdir()
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": "runs/shapes"})
    (tmp_path / "params/shapes.yaml").write_text(yaml.safe_dump(params.model_dump()))
    assert len(READING) == len([*NOTEBOOKS.glob("*.ipynb")])
    stages = [name for name in READING if name[0] in "01234"]
    with jupyter_lab.served(tmp_path) as address:
        for name in [*stages, *(name for name in READING if name not in stages)]:
            cells = nbformat.read(tmp_path / "notebooks" / name, as_version=4).cells
            with jupyter_lab.opened(f"{address}/lab/tree/notebooks/{name}?token=t&reset", 1280, 900) as page:
                jupyter_lab.run_all(page)
                ends = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").last
                count = sum(cell.cell_type == "code" for cell in cells)
                page.wait_for_function(
                    "([prompt, count]) => prompt.textContent.trim() === `[${count}]:`",
                    arg=[ends.element_handle(), count],
                )
                errors = page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
                assert not errors, f"{name}: {errors}"
            jupyter_lab.end_kernels(address)
