"""`eln-kit submit` against a real SLURM, which `tests/slurm.sh start` or .ci/run brings up."""

import json
import re
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil
import pytest
import yaml
from patience import until
from torture import differences

from eln_kit import cli
from eln_kit.batch import compare, state
from eln_kit.method.stages import STAGES
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import save
from eln_kit.training.fit import fit

CHAIN = ("1_supervised", "2_error_localization", "3_semi_supervised")


def slurm(*command: str, patience: float | None = None) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=patience).stdout.strip()


@cache
def nodes() -> int:
    """Of a SLURM that answers soon."""
    listed = ""
    with suppress(FileNotFoundError, subprocess.TimeoutExpired):
        listed = slurm("sinfo", "-h", "-p", "main", "-o", "%D %a", patience=5)
    return int(listed.split()[0]) if "up" in listed else 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.nightly,
    pytest.mark.skipif(nodes() == 0, reason="no SLURM with a partition main is here: tests/slurm.sh start"),
]


@pytest.fixture
def submit(tmp_path, monkeypatch, capsys):
    """`eln-kit submit` with entries of a cluster.yaml; gives the job's number, and cancels the job in the end."""
    jobs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # ipykernel shows less in a test

    def act(*arguments, **entries):
        content = {"partition": "main", "time": 10} | entries
        (tmp_path / "cluster.yaml").write_text(yaml.safe_dump({"cluster": content}))
        assert cli.main(["submit", *map(str, arguments)]) == 0, capsys.readouterr().err
        jobs.append(re.match(r"job (\d+)", capsys.readouterr().out)[1])
        return jobs[-1]

    yield act
    for job in jobs:
        slurm("scancel", job)


def in_queue(job: str) -> str:
    return slurm("squeue", "-h", "-j", job, "-o", "%T")


def ended(job: str) -> bool:
    return not in_queue(job)


def steps(folder: Path, stage: str) -> int:
    log = folder / stage / "metrics.jsonl"
    return len(log.read_text().splitlines()) if log.is_file() else 0


def begin_again(job: str) -> None:
    """SLURM lets a requeued job wait for two minutes; this one goes on at once."""
    until(lambda: in_queue(job) == "PENDING", of="the job's way back into the queue")
    slurm("scontrol", "update", f"jobid={job}", "starttime=now")


def test_a_requeued_and_signalled_run_ends_with_the_weights_of_one_never_stopped(tiny, tmp_path, submit, capsys):
    knobs = {"supervised.steps": 60, "error_localization.steps": 40, "run.log_every": 1, "run.save_every": 1000}
    whole, stopped = (tiny(knobs | {"run.folder": str(tmp_path / name)}) for name in ("whole", "stopped"))
    save(stopped, tmp_path / "stopped.yaml")
    folder = tmp_path / "stopped"
    job = submit("stopped.yaml")
    until(lambda: steps(folder, "1_supervised") > 3, of="stage 1")
    slurm("scontrol", "requeue", job)
    begin_again(job)
    until(lambda: steps(folder, "2_error_localization") > 3, of="stage 2")
    slurm("scancel", "--signal=TERM", job)
    begin_again(job)
    experiment = open_experiment(whole)
    for name in CHAIN:
        fit(STAGES[name](experiment.networks(STAGES[name].after), whole), experiment)
    until(lambda: ended(job), of="the end")
    log = (folder / "slurm" / f"{job}_0_log.out").read_text()
    assert {found["state"] for found in state.read_state(folder).values()} == {"finished"}, log
    for name in CHAIN:
        assert differences(whole, stopped, name) == []
    assert "1_supervised: saved at step " in log
    assert "2_error_localization: saved at step " in log
    assert f"job {job}: requeued, 2 of at most 20 times" in log
    assert "Kernel died" not in log
    assert cli.main(["status", str(folder)]) == 0
    assert f"job {job}  ended" in capsys.readouterr().out


def test_a_job_whose_time_limit_ends_in_stage_1_saves_and_is_requeued(tiny, tmp_path, submit):
    save(tiny({"supervised.steps": 10**6, "run.log_every": 100, "run.save_every": 10**6}), tmp_path / "endless.yaml")
    job = submit("endless.yaml", time=2, sbatch={"signal": "TERM@60"})
    log = tmp_path / "run" / "slurm" / f"{job}_0_log.out"
    until(lambda: log.is_file() and "of at most 20 times" in log.read_text(), of="the end of its time")
    assert "1_supervised: saved at step " in log.read_text()
    assert (tmp_path / "run" / "1_supervised" / "checkpoint.pt").is_file()


def test_a_killed_job_is_told_with_its_notebook_and_cell(tiny, tmp_path, submit, capsys):
    save(tiny({"supervised.steps": 10**6}), tmp_path / "endless.yaml")
    job = submit("endless.yaml")
    until(lambda: steps(tmp_path / "run", "1_supervised"), of="stage 1")
    assert cli.main(["status", "run"]) == 0
    assert "running in cell [" in capsys.readouterr().out
    for process in psutil.process_iter(["cmdline"]):
        if process.info["cmdline"] and process.info["cmdline"][-1] == str(tmp_path / "run" / "slurm"):
            process.kill()
    until(lambda: ended(job), of="the end")
    assert cli.main(["status", "run"]) == 0
    assert re.search(r"1_supervised +killed in cell \[\d+\]; submit it again to go on", capsys.readouterr().out)


def test_a_sweep_is_one_array_that_trains_shared_stages_once(tiny, tmp_path, submit, capsys):
    save(tiny(), tmp_path / "tiny.yaml")
    methods = {"ELN": {}, "No filter": {"semi_supervised.filter": "none"}}
    content = {"params": str(tmp_path / "tiny.yaml"), "folder": str(tmp_path / "sweep"), "seeds": [0, 1]}
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump(content | {"methods": methods, "knobs": {"run.control": False}})
    )
    array = submit("--sweep", "sweep.yaml")
    until(lambda: ended(array), patience=500, of="the end")
    logs = [file.read_text() for file in sorted((tmp_path / "sweep" / "slurm").glob(f"{array}_*_0_log.out"))]
    assert [log.count("1_supervised  step 4/4") for log in logs] == [1, 1, 0, 0, 0, 0, 0], logs
    assert [log.count("2_error_localization  step 4/4") for log in logs] == [1, 1, 0, 0, 0, 0, 0]
    assert [log.count("3_semi_supervised  step 4/4") for log in logs] == [0, 0, 1, 1, 1, 1, 0]
    for method in ("eln", "no_filter"):
        for seed in ("0", "1"):
            assert (tmp_path / "sweep" / method / seed / "4_evaluate" / "results.json").is_file()
    assert "ensemble" in json.loads((tmp_path / "sweep" / "eln" / "1" / compare.DETECTORS).read_text())["detectors"]
    assert cli.main(["status", "sweep"]) == 0
    assert capsys.readouterr().out.count("ended") == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--partition", "nowhere"], "SLURM refuses the job: invalid partition specified: nowhere; "),
        (["--gpus", "64"], "SLURM refuses the job: "),
    ],
)
def test_what_slurm_refuses_is_one_line_and_leaves_nothing(tiny, tmp_path, monkeypatch, capfd, flags, message):
    monkeypatch.chdir(tmp_path)
    save(tiny(), tmp_path / "tiny.yaml")
    assert cli.main(["submit", "tiny.yaml", "--partition", "main", *flags]) == 1
    err = capfd.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not any((tmp_path / "run" / "slurm").iterdir())
