import json
import re

import nbformat
import papermill
import pytest
import yaml

from eln_kit import cli
from eln_kit.batch.run import NOTEBOOKS
from eln_kit.params import Params
from eln_kit.paths import project_root

pytestmark = pytest.mark.slow

FILES = sorted((project_root() / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_opens_without_questions_and_carries_no_output(file):
    notebook = nbformat.read(file, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    own = {"error_lab": ["run", "stage", "knobs"], "5_compare": ["runs", "out"]}
    expected = own.get(file.stem, [*Params.model_fields, "knobs"])
    names = "|".join(expected)
    rebound = [cell for cell in code if cell not in parameters and re.search(rf"^({names})\b.*=", cell.source, re.M)]
    assert not rebound, "a parameters section is overwritten, so the notebook's cells run only once"
    defaults: dict = {}
    exec(parameters[0].source, defaults)
    assert {name for name in defaults if not name.startswith("__")} == set(expected)


def test_all_notebooks_run_one_after_another_and_leave_pages_pictures_and_a_table(tiny, tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump()))
    assert cli.main(["run", str(file), "--set", "run.seed=3"]) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "run"
    assert str(folder / "index.html") in printed
    assert "mIoU" in printed
    results = json.loads((folder / "4_evaluate" / "results.json").read_text())
    assert [row["steps"] for row in results["segmentation"]] == [4, 12, 12, 12, 12]
    for name in NOTEBOOKS:
        assert (folder / f"{name}.html").stat().st_size > 10_000
        assert list((folder / name).glob("*.png"))
    page = (folder / "index.html").read_text()
    assert "errors_1.png" in page
    assert "1 - max softmax" in page

    assert cli.main(["run", str(file), "--set", "optimizer.lr=0.5"]) == 1
    assert "optimizer.lr was 0.001 and is 0.5" in capsys.readouterr().err
    assert "lr: 0.001" in (folder / "params.yaml").read_text()

    assert cli.main(["table", str(folder)]) == 0
    assert "| run | 4 of 12 | 3 | 4, then 12 |" in capsys.readouterr().out

    assert cli.main(["run", str(file), "--set", "run.seed=3"]) == 0
    assert capsys.readouterr().out.count("finished before") == len(NOTEBOOKS)

    source = project_root() / "notebooks" / "error_lab.ipynb"
    papermill.execute_notebook(source, tmp_path / "lab.ipynb", {"run": str(folder)}, progress_bar=False)
    executed = (tmp_path / "lab.ipynb").read_text()
    assert f"{folder}, after 3_semi_supervised: 4 labelled and 8 unlabelled images" in executed
    assert executed.count("image/png") == len(list((folder / "error_lab").glob("*.png"))) == 3 * 3 + 3
    assert "After 20 steps here in all" in executed


def test_a_run_that_stage_3_would_end_is_refused_by_the_first_notebook(tiny, tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump()))
    assert cli.main(["run", str(file), "--set", "data.labels=1/1"]) == 1
    out, err = capsys.readouterr()
    assert "no unlabelled images are left" in err
    assert "1_supervised: running" not in out


def test_plain_papermill_takes_a_params_file_and_single_knobs_without_warnings(tiny, tmp_path, caplog):
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        project_root() / "notebooks" / "0_data.ipynb",
        out,
        tiny().model_dump() | {"knobs": "data.labels=5"},
        progress_bar=False,
    )
    assert "5 labelled and 7 unlabelled" in out.read_text()
    assert "unknown parameter" not in caplog.text


def test_stage_3_runs_on_labelled_images_alone(tiny, tmp_path):
    file = tmp_path / "tiny.yaml"
    knobs = {"data.labels": "1/1", "semi_supervised.unlabeled": False, "run.control": False}
    file.write_text(yaml.safe_dump(tiny(knobs).model_dump()))
    assert cli.main(["run", str(file)]) == 0


def test_a_notebook_out_of_order_names_the_one_to_run_first(tiny, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match=r"run notebooks/1_supervised\.ipynb first"):
        papermill.execute_notebook(
            project_root() / "notebooks" / "2_error_localization.ipynb",
            tmp_path / "out.ipynb",
            tiny().model_dump(),
            progress_bar=False,
        )
