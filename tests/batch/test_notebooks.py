import contextlib
import io
import json
import re

import nbformat
import papermill
import pytest
import yaml
from conftest import TINY
from executed import execute
from trees import write_image

from eln_kit import cli, notebook
from eln_kit.batch.state import NOTEBOOKS
from eln_kit.faults import LockedError
from eln_kit.paths import project_root
from eln_kit.store import checkpoint
from eln_kit.store.lock import held
from eln_kit.store.params_file import build, load, save

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
    own = {
        "error_lab": ["run", "stage", "knobs"],
        "5_compare": ["runs", "out"],
        "6_label_next": ["run", "images", "out"],
        "toy_method": ["seed", "ratios"],
    }
    expected = own.get(file.stem, ["params", "knobs"])
    names = "|".join(expected)
    rebound = [cell for cell in code if cell not in parameters and re.search(rf"^({names})\b.*=", cell.source, re.M)]
    assert not rebound, "a parameters section is overwritten, so the notebook's cells run only once"
    defaults: dict = {}
    exec(parameters[0].source, defaults)
    assert {name for name in defaults if not name.startswith("__")} == set(expected)


def test_the_start_page_links_every_notebook():
    page = (project_root() / "notebooks/README.md").read_text()
    assert {f"{file.stem}]({file.name})" for file in FILES} == set(re.findall(r"\[(\w+\]\(\w+\.ipynb\))", page))


@pytest.fixture(scope="module")
def pipeline(scenes, tmp_path_factory):
    """All notebooks run one after another, with assignments saved in them: the params file, run folder, and output."""
    place = tmp_path_factory.mktemp("pipeline")
    project, other = place / "project", place / "other"
    save_in_notebooks(project, f'params = "{other}"\nknobs = "semi_supervised.filter=none run.folder={other}"')
    file, folder = project / "tiny.yaml", place / "run"
    save(build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder)}), file)
    printed = io.StringIO()
    with contextlib.chdir(project), contextlib.redirect_stdout(printed):
        assert cli.main(["run", str(file), "--set", "run.seed=3"]) == 0
    return file, folder, printed.getvalue()


def test_all_notebooks_run_one_after_another_and_leave_pages_pictures_and_a_table(pipeline):
    _, folder, printed = pipeline
    assert str(folder / "index.html") in printed
    assert "mIoU" in printed
    results = json.loads((folder / "4_evaluate" / "results.json").read_text())
    assert [row["steps"] for row in results["segmentation"]] == [4, 12, 12, 12, 12]
    for name in NOTEBOOKS:
        text = (folder / f"{name}.html").read_text()
        assert "$$" not in text
        assert not re.search(r"<script[^>]*https?://", text), "a page needs no network"
        assert list((folder / name).glob("*.png"))
    assert (folder / "3_semi_supervised.html").read_text().count('display="block"') == 2


def test_the_page_of_a_run_can_be_sent_alone_and_tells_of_its_data_and_results(pipeline):
    _, folder, _ = pipeline
    page = (folder / "index.html").read_text()
    pictures = [*folder.glob("*/*.png"), *folder.glob("*/seen/*.png")]
    maps = list(folder.glob("4_evaluate/trust/*"))
    assert len(maps) == 2
    assert page.count("data:image/png;base64,") == len(pictures) + 4 * len(maps)
    assert "<img src" not in page.replace('src="data:', "")
    assert 'type="range"' in page
    assert "What to notice" in page
    assert "4 labelled and 8 unlabelled images" in page
    assert "1 - max softmax" in page


def told_tree() -> list[str]:
    """The files and folders in the tree of docs/run_folder.md, below the run folder; folders end with a slash."""
    tree = re.search(r"```text\n(.*?)```", (project_root() / "docs/run_folder.md").read_text(), re.DOTALL)[1]
    folder, told = "", []
    for line in tree.splitlines()[1:]:
        words = re.match(r"\s*(.*?)(\s{2,}[a-zA-Z].*)?$", line[2:])[1].split()
        indented = line.startswith("    ")
        folder = folder if indented else words[0] if words[0].endswith("/") else ""
        told += [(folder if indented else "") + word for word in words if word not in ("...",)]
    return told


def test_what_a_run_folder_holds_is_told_and_what_is_told_is_there(pipeline):
    _, folder, _ = pipeline
    told = told_tree()
    for_held_out_and_bound = {"1_supervised/best.pt", "bound/"}
    assert [path for path in told if path not in for_held_out_and_bound and not (folder / path).exists()] == []
    known = {path.rstrip("/") for path in told} | {".lock"} | {f"{name}.ipynb" for name in NOTEBOOKS}
    known |= {f"{name}.html" for name in NOTEBOOKS} | set(NOTEBOOKS) | {"error_lab"}
    assert {path.name for path in folder.iterdir()} <= known


def test_a_finished_run_is_skipped_refuses_other_params_and_is_a_row_of_the_table(pipeline, capsys):
    file, folder, _ = pipeline
    assert cli.main(["run", str(file), "--set", "optimizer.lr=0.5"]) == 1
    assert "optimizer.lr was 0.001 and is 0.5" in capsys.readouterr().err
    assert "lr: 0.001" in (folder / "params.yaml").read_text()
    assert cli.main(["table", str(folder)]) == 0
    assert "| run | 4 of 12 | 3 | 4, then 12 |" in capsys.readouterr().out
    with contextlib.chdir(file.parent):
        assert cli.main(["run", str(file), "--set", "run.seed=3"]) == 0
    assert "finished before, with the same params" in capsys.readouterr().out


def test_notebook_5_says_of_one_run_that_its_seed_and_its_detectors_tell_nothing(pipeline, tmp_path):
    text = execute("5_compare", tmp_path / "5.ipynb", runs=str(pipeline[1]), out=str(tmp_path / "out"))
    assert "One seed of each method" in text
    assert "no run has its detectors measured; eln-kit sweep does that" in text
    assert text.count("image/png") == 2


def test_the_error_lab_runs_without_a_browser_and_keeps_its_pictures(pipeline, tmp_path):
    _, folder, _ = pipeline
    executed = execute("error_lab", tmp_path / "lab.ipynb", run=str(folder))
    assert f"{folder}, after 3_semi_supervised: 4 labelled and 8 unlabelled images" in executed
    assert executed.count("image/png") == len(list((folder / "error_lab").glob("*.png"))) == 3 * 3 + 3
    assert "20 steps" in executed, "ELN was trained on"


def test_what_is_saved_in_a_notebook_does_not_change_what_a_run_does(pipeline):
    _, folder, printed = pipeline
    assert not (folder.parent / "other").exists()
    for name in NOTEBOOKS:
        assert f"{name}: knobs = " in printed
        assert f"{name}: params = " in printed
    state = checkpoint.load(folder / "3_semi_supervised" / checkpoint.FILE)
    assert state["params"]["semi_supervised"]["filter"] == "eln"


def test_a_run_that_stage_3_would_end_is_refused_by_the_first_notebook(tiny, tmp_path, capsys):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump()))
    assert cli.main(["run", str(file), "--set", "data.labels=1/1"]) == 1
    out, err = capsys.readouterr()
    assert "no unlabelled images are left" in err
    assert "1_supervised: running" not in out


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_takes_a_params_file_a_run_folder_or_papermills_file_of_sections(tiny, tmp_path, caplog):
    params = tiny()
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(params.model_dump()))
    text = execute("0_data", tmp_path / "1.ipynb", params=str(file), knobs="data.labels=5 run.show=1")
    assert "5 labelled and 7 unlabelled" in text
    assert "data.labels=5" in text, "the first lines say what differs from the defaults"
    assert "unknown parameter" not in caplog.text
    text = execute("0_data", tmp_path / "2.ipynb", params=params.run.folder)
    assert "5 labelled and 7 unlabelled" in text, "the run folder remembers the knobs"
    own = {"run.folder": str(tmp_path / "own")}
    text = execute("0_data", tmp_path / "3.ipynb", **tiny(own).model_dump(), knobs="run.show=1")
    assert "4 labelled and 8 unlabelled" in text


def save_in_notebooks(folder, assignments):
    """Copies of the notebooks with these lines at the end of their parameters cells."""
    (folder / "params").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    for file in FILES:
        notebook = nbformat.read(file, as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        cell.source += "\n" + assignments
        nbformat.write(notebook, folder / "notebooks" / file.name)


@pytest.mark.nightly
def test_stage_3_runs_on_labelled_images_alone(tiny, tmp_path):
    file = tmp_path / "tiny.yaml"
    knobs = {"data.labels": "1/1", "semi_supervised.unlabeled": False, "run.control": False}
    file.write_text(yaml.safe_dump(tiny(knobs).model_dump()))
    assert cli.main(["run", str(file)]) == 0


def test_a_notebook_out_of_order_names_the_one_to_run_first(tiny, tmp_path):
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump()))
    with pytest.raises(papermill.PapermillExecutionError, match=r"run notebooks/1_supervised\.ipynb first"):
        execute("2_error_localization", tmp_path / "out.ipynb", params=str(file))


def test_notebook_6_shows_what_a_precision_keeps_and_what_to_label_next(trained, tmp_path):
    for index in range(3):
        write_image(tmp_path / f"pool/{index}.png", (32, 40))
    given = {"run": str(trained), "images": str(tmp_path / "pool"), "out": str(tmp_path / "out")}
    text = execute("6_label_next", tmp_path / "6.ipynb", **given)
    assert "3 images labelled in" in text
    assert text.count("image/png") == len(list((tmp_path / "out/6_label_next").glob("*.png"))) == 3 + 1
    assert "0 measured so far" in text


def test_notebook_6_shows_each_round_of_labels(pipeline, tmp_path):
    text = execute("6_label_next", tmp_path / "6.ipynb", run=str(pipeline[1]), out=str(tmp_path / "out"))
    assert "1 measured so far" in text
    assert (tmp_path / "out/6_label_next/rounds.png").is_file()


def test_a_notebook_opened_with_other_knobs_while_a_run_goes_on_leaves_the_runs_params_alone(tiny, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    save(tiny(), folder / "params.yaml")
    before = (folder / "params.yaml").read_text()
    given = {"params": str(folder / "params.yaml"), "knobs": "semi_supervised.threshold=0.9"}
    with held(folder):
        with pytest.raises(LockedError, match=r"a run goes on here with another semi_supervised\.threshold"):
            notebook.open_experiment(given)
        assert (folder / "params.yaml").read_text() == before
        notebook.open_experiment(given | {"knobs": ""})
    notebook.open_experiment(given)
    assert load(folder / "params.yaml").semi_supervised.threshold == 0.9
