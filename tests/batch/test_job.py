"""`params/job.sh`, the script of a job, with programs that answer like SLURM's; with a real one: test_slurm.py."""

import os
import subprocess

import pytest

from eln_kit.paths import shipped

JOB = {"SLURM_JOB_ID": "7"}
TASK = {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}


def called(folder, status, environment, queue="echo RUNNING", requeue="exit 0"):
    """The script's exit status, and what it called, where the run ends with `status`."""
    for name, does in {"srun": f"exit {status}", "squeue": queue, "scontrol": requeue}.items():
        (folder / name).write_text(f'#!/bin/bash\necho {name} "$@" >> {folder}/called\n{does}\n')
        (folder / name).chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    script = [shipped() / "params" / "job.sh", "run", "shapes", "--set", "run.folder=two words"]
    done = subprocess.run(["bash", *script], env=clean | path | environment, check=False)
    return done.returncode, (folder / "called").read_text().splitlines()


@pytest.mark.parametrize(
    ("status", "environment", "queue", "requeued"),
    [
        (75, JOB, "echo RUNNING", "7"),
        (143, TASK, "echo RUNNING", "7_0"),
        (75, JOB, "echo busy >&2; exit 1", "7"),
        (75, JOB, "echo COMPLETING", None),
        (75, JOB | {"SLURM_RESTART_COUNT": "20"}, "echo RUNNING", None),
        (1, JOB, "echo RUNNING", None),
        (0, JOB, "echo RUNNING", None),
    ],
)
def test_a_stopped_job_goes_back_into_the_queue_unless_slurm_ends_it_it_failed_or_it_has_been_often_enough(
    tmp_path, status, environment, queue, requeued
):
    ended, commands = called(tmp_path, status, environment, queue)
    assert ended == status
    assert commands[0] == "srun eln-kit run shapes --set run.folder=two words"
    assert [line for line in commands if "requeue" in line] == ([f"scontrol requeue {requeued}"] if requeued else [])


def test_a_job_hands_its_cores_to_the_run(tmp_path):
    _, commands = called(tmp_path, 0, JOB | {"SLURM_CPUS_PER_TASK": "8"})
    assert commands[0].startswith("srun --cpus-per-task=8 eln-kit run")
