"""`params/job.sh` in a real SLURM, which `tests/slurm.sh start` or .ci/run brings up."""

import json
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
import yaml
from patience import until
from torture import differences

from eln_kit.batch import report, state
from eln_kit.method.stages import STAGES
from eln_kit.paths import shipped
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
def submit(tmp_path, monkeypatch):
    """`sbatch` with the kit's script; gives the job's number and log, and cancels the job in the end."""
    jobs = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # ipykernel shows less in a test
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")

    def act(*arguments, options=()):
        script = str(shipped() / "params" / "job.sh")
        asked = ["--partition=main", "--time=10", f"--output={tmp_path}/%j.log", *options]
        jobs.append(slurm("sbatch", "--parsable", *asked, script, *arguments))
        assert jobs[-1]
        return jobs[-1], tmp_path / f"{jobs[-1]}.log"

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


def test_a_requeued_and_signalled_run_ends_with_the_weights_of_one_never_stopped(tiny, tmp_path, submit):
    knobs = {"supervised.steps": 60, "error_localization.steps": 40, "run.log_every": 1, "run.save_every": 1000}
    whole, stopped = (tiny(knobs | {"run.folder": str(tmp_path / name)}) for name in ("whole", "stopped"))
    save(stopped, tmp_path / "stopped.yaml")
    folder = tmp_path / "stopped"
    job, log = submit("run", "stopped.yaml")
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
    log = log.read_text()
    assert {found["state"] for found in state.read_state(folder).values()} == {"finished"}, log
    for name in CHAIN:
        assert differences(whole, stopped, name) == []
    assert "1_supervised: saved at step " in log
    assert "2_error_localization: saved at step " in log
    assert "Kernel died" not in log


def test_a_job_whose_time_limit_ends_in_stage_1_saves_and_is_requeued(tiny, tmp_path, submit):
    save(tiny({"supervised.steps": 10**6, "run.log_every": 100, "run.save_every": 10**6}), tmp_path / "endless.yaml")
    job, log = submit("run", "endless.yaml", options=["--time=2", "--signal=TERM@60"])
    until(lambda: steps(tmp_path / "run", "1_supervised"), of="stage 1")
    until(lambda: in_queue(job) == "PENDING", of="its way back into the queue")
    assert "1_supervised: saved at step " in log.read_text()
    assert (tmp_path / "run" / "1_supervised" / "checkpoint.pt").is_file()


def test_a_cancelled_job_saves_and_stays_cancelled(tiny, tmp_path, submit):
    save(tiny({"supervised.steps": 10**6}), tmp_path / "endless.yaml")
    job, log = submit("run", "endless.yaml")
    until(lambda: steps(tmp_path / "run", "1_supervised"), of="stage 1")
    slurm("scancel", job)
    until(lambda: ended(job), of="the end")
    assert "1_supervised: saved at step " in log.read_text()


def test_the_jobs_of_an_array_divide_a_sweep(tiny, tmp_path, submit):
    save(tiny(), tmp_path / "tiny.yaml")
    methods = {"ELN": {}, "No filter": {"semi_supervised.filter": "none"}}
    content = {"params": str(tmp_path / "tiny.yaml"), "folder": str(tmp_path / "sweep"), "seeds": [0, 1]}
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump(content | {"methods": methods, "knobs": {"run.control": False}})
    )
    array, _ = submit("sweep", "sweep.yaml", options=["--array=0-1", f"--output={tmp_path}/%a.log"])
    until(lambda: ended(array), patience=500, of="the end")
    logs = [(tmp_path / f"{task}.log").read_text() for task in range(2)]
    assert sum(log.count("3_semi_supervised  step 4/4") for log in logs) == 4, logs
    for method in ("eln", "no_filter"):
        for seed in ("0", "1"):
            assert (tmp_path / "sweep" / method / seed / "4_evaluate" / "results.json").is_file()
    assert "ensemble" in json.loads((tmp_path / "sweep" / "eln" / "1" / report.DETECTORS).read_text())["detectors"]
