"""`eln-kit run` on toy notebooks: order, going on, failing, stopping, and what it says about each."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import nbformat
import pandas
import psutil
import pytest
import yaml
from patience import until
from together import forking
from toy_run import run_notebooks

from eln_kit import cli
from eln_kit.batch import compare, index, kernels, report, state
from eln_kit.faults import Fault
from eln_kit.paths import resolve

pytestmark = pytest.mark.slow

PARAMETERS = 'params = "shapes"\nknobs = ""'
READ = "from pathlib import Path; from eln_kit.store.experiment import load_params; asked = load_params(Path(params)); "


@pytest.fixture
def project(empty_project, monkeypatch):
    """A project whose only notebooks are those of `write`."""
    (empty_project / "params/toy.yaml").write_text("run: {folder: runs/toy}\n")
    monkeypatch.setattr(state, "NOTEBOOKS", [])
    return empty_project


def write(root, name, *codes):
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(code) for code in codes]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), root / "notebooks" / f"{name}.ipynb")


def start(*names, settings=()):
    """`eln-kit run` with these notebooks."""
    state.NOTEBOOKS[:] = names
    return cli.main(["run", "params/toy.yaml", *(f"--set={setting}" for setting in settings)])


def test_runs_in_order_goes_on_and_says_so(project, capfd):
    write(project, "1_a", READ + "import sys; print(sys.executable, asked.supervised.steps)")
    write(
        project,
        "2_b",
        READ + "assert Path('runs/toy/1_a.html').is_file(); 1 / asked.run.seed",
    )
    assert start("1_a", "2_b", settings=["supervised.steps=7"]) == 1
    out, err = capfd.readouterr()
    assert f"{sys.executable} 7\n" in out
    assert out.startswith("changed  supervised.steps=7\n")
    assert out.count("supervised.steps=7") == 1, "what differs from the defaults is told once"
    assert err == "2_b: failed in cell [3]: ZeroDivisionError: division by zero\n"
    page = (project / "runs/toy/index.html").read_text()
    assert "ZeroDivisionError" in page
    executed = (project / "runs/toy/2_b.html").read_text()
    assert "ZeroDivisionError" in executed
    assert str(project) not in page + executed, "pages name no folder of this machine"

    write(project, "2_b", "print('mended')")
    assert start("1_a", "2_b", settings=["supervised.steps=7"]) == 0
    out, _ = capfd.readouterr()
    assert "\n1_a: finished before, skipped\n2_b: running\nmended\n2_b: finished in " in out
    assert out.endswith("index.html\n")

    assert start("1_a", settings=["supervised.steps=8"]) == 0
    assert f"{sys.executable} 8\n" in capfd.readouterr().out


WAITS = """
import time
from pathlib import Path
page = Path("runs/toy/index.html")
while not (page.is_file() and "This run goes on" in page.read_text()):
    time.sleep(0.05)
print("seen:", "location.reload" in page.read_text())
"""


def test_the_page_is_there_while_the_run_goes_on_and_reloads_itself_until_it_has_ended(project, capfd):
    write(project, "1_a", WAITS)
    assert start("1_a") == 0
    assert "seen: True\n" in capfd.readouterr().out
    page = (project / "runs/toy/index.html").read_text()
    assert "This run goes on" not in page
    assert "location.reload" not in page
    assert "http-equiv" not in page


def test_a_page_that_cannot_be_written_is_a_line_and_ends_no_run(project, capfd):
    write(project, "1_a", "print('done')")
    (project / "runs/toy/index.html").mkdir(parents=True)
    assert start("1_a") == 0
    assert capfd.readouterr().err.count("index.html: could not be written (IsADirectoryError") == 1


def test_where_processes_cannot_be_forked_each_kernel_is_a_new_python(project, capfd, monkeypatch):
    monkeypatch.setattr(kernels, "FORKS", False)
    write(project, "1_a", "import sys; print('eln_kit.training.fit' in sys.modules)")
    assert start("1_a") == 0
    assert "\nFalse\n" in capfd.readouterr().out


STOPPED = """
import signal, time
from pathlib import Path
stopped = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
Path("started").touch()
while not stopped:
    time.sleep(0.05)
time.sleep({seconds})
Path("saved").touch()
print("saved at step 3")
{end}
"""


@pytest.fixture
def begin(project):
    """Starts `eln-kit run` in another process, and waits until the notebook 1_a has begun."""
    processes = []

    def act(**options):
        process = forking().Process(target=run_notebooks, args=(str(project), "1_a"), kwargs=options)
        processes.append(process)
        process.start()
        until((project / "started").exists)
        return process

    yield act
    for process in processes:
        process.kill()


def ended(project, process):
    """The exit status, and what was printed."""
    process.join(60)
    return process.exitcode, *((project / name).read_text() for name in ("out", "err"))


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGINT, "raise KeyboardInterrupt"), (signal.SIGTERM, ""), (signal.SIGHUP, "")]
)
def test_a_stopped_notebook_saves_first(project, begin, number, end):
    write(project, "1_a", STOPPED.format(seconds=1, end=end), "Path('next cell').touch()")
    process = begin()
    os.kill(process.pid, number)
    status, out, err = ended(project, process)
    assert status == 75
    assert (project / "saved").exists()
    assert not (project / "next cell").exists()
    assert "saved at step 3" in out
    assert err.splitlines()[-1] == "interrupted; run the same command to go on"
    assert "Traceback" not in err
    assert state.read_state(project / "runs/toy")["1_a"]["state"] == "interrupted"
    assert "interrupted" in (project / "runs/toy/index.html").read_text()


def test_a_signal_to_every_process_of_a_job_is_one_line_about_what_was_saved(project, begin):
    write(project, "1_a", STOPPED.format(seconds=1, end="raise KeyboardInterrupt('1_a: saved at step 3')"))
    process = begin(forks=True)
    for each in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)) * 2:
        each.send_signal(signal.SIGTERM)
    status, _, err = ended(project, process)
    assert status == 75
    assert (project / "saved").exists()
    assert err.strip().splitlines()[1:] == ["1_a: saved at step 3"]


def test_when_its_terminal_is_closed_a_notebook_still_saves(project, begin):
    write(project, "1_a", STOPPED.format(seconds=1, end=""))
    ours, theirs = pty.openpty()
    process = begin(terminal=os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)
    process.join(60)
    assert process.exitcode == 75
    assert (project / "saved").exists()
    assert state.read_state(project / "runs/toy")["1_a"]["state"] == "interrupted"


def test_a_second_signal_stops_at_once_and_a_second_run_waits_outside(project, begin, capsys):
    write(project, "1_a", STOPPED.format(seconds=400, end=""))
    process = begin()
    assert start("1_a") == 1
    assert "runs/toy: in use by process" in capsys.readouterr().err
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.5)
    status, _, err = ended(project, process)
    assert status == 75
    assert "Traceback" not in err


def test_a_dead_kernel_is_one_line(project, capsys):
    write(project, "1_a", "print('as far as this')", "import os; os._exit(9)")
    assert start("1_a") == 1
    assert "as far as this" in (project / "runs/toy/1_a.ipynb").read_text()
    assert capsys.readouterr().err == "1_a: its kernel died in cell [4]; the system may have run out of memory\n"
    assert (project / "runs/toy/1_a.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["params/toy.yaml", "--set=supervised.step=7"], 2, "did you mean supervised.steps?"),
        (["params/none.yaml"], 2, "params/none.yaml: no such params file\n"),
        (["params/toy.yaml"], 1, "2_b.ipynb: no such notebook"),
        *(
            (["params/toy.yaml", f"--set=run.folder={folder}"], 1, f"{folder}: cannot be written (")
            for folder in ("file", "file/inside", "/proc/nobody/writes/here")
        ),
    ],
)
def test_what_cannot_be_run_is_one_line(project, capsys, arguments, status, said):
    (project / "file").touch()
    write(project, "1_a", "1")
    state.NOTEBOOKS[:] = ["2_b"] if "notebook" in said else ["1_a"]
    assert cli.main(["run", *arguments]) == status
    assert said in (err := capsys.readouterr().err)
    assert err.count("\n") == 1


def test_report_shows_results_and_escapes_names(tmp_path):
    results = {
        "segmentation": [
            {"name": "stage 1 <b>", "steps": 400, "miou": 0.5124, "pixel_accuracy": 0.9, "absent": ["car"]},
            {"name": "stage 3", "steps": 900, "miou": 0.6, "pixel_accuracy": None, "absent": []},
        ],
        "error_detection": [{"name": "ELN", "auroc": 0.91234, "aupr": 0.4, "error_rate": 0.05}],
    }
    lines = report.table(results).splitlines()
    assert lines[2].split() == ["stage", "1", "<b>", "400", "51.2", "90.0", "car"]
    assert lines[-1].split() == ["ELN", "0.912", "0.400", "5.0"]
    for name in ("4_evaluate/results.json", "1_supervised/a curve#1.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(json.dumps(results))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": {"root": "</pre><script>"}, "run": {"seed": 0}}))
    state.write_state(tmp_path, {"0_data": {"state": "not run"}})
    page = index.write_index(tmp_path).read_text()
    assert "stage 1 &lt;b&gt;" in page
    assert "&lt;/pre&gt;&lt;script&gt;" in page
    assert "<script>" not in page
    assert 'alt="a curve#1"' in page
    assert "data:image/png;base64," in page
    assert "not run" in page


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")])
def test_duration(seconds, text):
    assert report.duration(seconds) == text


def row(name, stage, network, miou, iou=(), steps=12):
    return {"name": name, "stage": stage, "network": network, "miou": miou, "steps": steps, "iou": iou}


def test_what_stands_out_is_computed_from_the_results():
    control, spread = "control, averaged as the teacher is", {"images": 100, "units": 100}
    gain = {"over": control, "miou": 0.03, "low": 0.01, "high": 0.048}
    calibration = {"ece_before": 0.1, "calibrated_on": 10, "reliability": {"ece": 0.02}}
    results = {
        "classes": ["sky", "road", "pole"],
        "segmentation": [
            row("stage 1, supervised", "1_supervised", "student", 0.4, [0.5, 0.3, None], steps=4),
            row("the teacher", "3_semi_supervised", "teacher", 0.45, [0.4, 0.5, None]) | spread | {"gain": gain},
            row(control, "control", "teacher", 0.42, [0.5, 0.34, None]),
        ],
        "error_detection": [
            {"stage": "2_error_localization", "detector": detector, "aupr": aupr} | calibration
            for detector, aupr in {"ELN": 0.5, "1 - max softmax": 0.6, "mean of the views": 0.55}.items()
        ],
    }
    said, classes, detection, calibrated, mean = report.notable(results)
    assert calibrated == "Its trust is calibrated on 10 held-out images: ECE 0.020, and 0.100 before."
    assert "+3.0 points against control, averaged as the teacher is (12 steps; the teacher had 12)" in said
    assert "these 100 validation images it would lie between +1.0 and +4.8 (95 %, bootstrap)" in said
    assert classes == "By class: road changes by +16.0 points of IoU, sky by -10.0."
    assert "no better than 1 - max softmax does: AUPR 0.500 and 0.600" in detection
    assert "mean of the same views, with nothing learnt, reaches 0.550" in mean
    assert report.notable({}) == []


@pytest.mark.parametrize(
    ("images", "units", "on"), [(2, 2, "2 validation images"), (101, 1, "101 validation images in 1 groups")]
)
def test_a_gain_on_few_images_or_few_groups_of_them_is_too_little_to_say(images, units, on):
    gain = {"over": "control", "miou": 0.094, "low": 0.05, "high": 0.1}
    teacher = row("stage 3, teacher", "3_semi_supervised", "teacher", 0.6) | {"images": images, "units": units}
    rows = [teacher | {"gain": gain}, row("control", "control", "student", 0.506)]
    (said,) = report.notable({"segmentation": rows, "classes": []})
    assert f"On {on} that is too few to say." in said
    assert "95 %" not in said


def test_a_run_that_an_older_version_has_measured_is_one_line(tmp_path):
    row = {"name": "stage 1, supervised", "steps": 4, "miou": 0.5}
    (tmp_path / "4_evaluate").mkdir()
    (tmp_path / report.RESULTS).write_text(json.dumps({"segmentation": [row], "error_detection": [], "classes": []}))
    (tmp_path / "params.yaml").write_text("run: {seed: 0}")
    (tmp_path / "split.json").write_text("{}")
    found = pandas.DataFrame({"folder": [tmp_path], "method": ["a"], "seed": [0]})
    for told, runs in ((report.compare, [tmp_path]), (compare.segmentation, found)):
        with pytest.raises(Fault, match="was measured by an older eln-kit; leave it out"):
            told(runs)


def test_help_does_not_import_torch():
    code = "import sys; from eln_kit import cli; cli.main(['knobs']); sys.exit('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.returncode == 0
    assert "supervised" in out.stdout


def test_a_run_killed_between_two_notebooks_goes_on_with_the_second(project, capfd):
    write(project, "1_a", "print('one')")
    write(project, "2_b", "print('two')")
    arguments = {"args": (str(project), "1_a", "2_b"), "kwargs": {"killed_before": "2_b"}}
    process = forking().Process(target=run_notebooks, **arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert start("1_a", "2_b") == 0
    said = (project / "out").read_text() + capfd.readouterr().out
    assert said.count("one\n") == said.count("two\n") == 1
    assert "1_a: finished before, skipped" in said


SCRIPT = "<script>alert(1)</script>"


def test_no_page_carries_script_from_a_name(project):
    """From outputs of an executed notebook, a picture's name, an error, a run's name."""
    folder = project / "runs/<img src=x onerror=alert(1)>"
    (folder / "1_a").mkdir(parents=True)
    (folder / "1_a" / "<b onclick=alert(1)>.png").touch()
    write(project, "1_a", f"name = {SCRIPT!r}; print(name)", "name", "raise ValueError(name)")
    assert start("1_a", settings=[f"run.folder={folder}"]) == 1
    for page in ("index.html", "1_a.html"):
        text = (folder / page).read_text()
        assert SCRIPT not in text
        assert "<img src=x" not in text
        assert "<b onclick" not in text


def test_notebooks_and_params_are_copied_once_and_never_over_others(tmp_path, capsys):
    assert cli.main(["copy", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'notebooks'}\n{tmp_path / 'params'}\n"
    assert (tmp_path / "notebooks/1_supervised.ipynb").is_file()
    assert (tmp_path / "params/sweeps/camvid_few.yaml").is_file()
    assert cli.main(["copy", str(tmp_path)]) == 1
    assert "notebooks: already exists" in capsys.readouterr().err


def test_outside_a_project_the_notebooks_of_the_package_run_and_the_working_folder_has_the_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert state.notebooks(["0_data"])["0_data"].is_file()
    assert resolve("runs/x") == tmp_path / "runs/x"


def test_version_tells_what_a_bug_report_needs(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    told = capsys.readouterr().out
    assert all(word in told for word in ("eln-kit ", "Python 3.", f"torch {version('torch')}"))
