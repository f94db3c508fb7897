"""Where a submitted run or sweep is: its notebooks, its jobs in the queue, the ends of their logs."""

import re
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from eln_kit.batch.job import LOGS
from eln_kit.batch.report import duration
from eln_kit.batch.state import read_state, running_cell
from eln_kit.faults import RunError
from eln_kit.store.lock import is_held

LAST = 5  # lines of the log of a job that is no task
NOISE = re.compile(r"srun: (?!error: .*: (Killed|Out Of Memory)$)|submitit (INFO|ERROR) |\s*$")


def describe(folder: Path) -> str:
    """The notebooks of a run, and each job of the newest submission with its state and the end of its log.

    Raises:
        RunError: nothing was run or submitted there.
    """
    state, jobs = read_state(folder), _newest(folder / LOGS)
    if not (state or jobs):
        raise RunError(f"{folder}: no run is there, and none was submitted; eln-kit submit does")
    queue = _queue(jobs)
    alive = any(state.startswith("RUNNING") for state in queue.values()) or is_held(folder)
    lines = [_notebook(folder, name, found, alive) for name, found in state.items()]
    for job in jobs:
        lines += _job(folder / LOGS, job, queue.get(job), 2 if len(jobs) > 1 else LAST)
    return "\n".join(lines)


def _newest(logs: Path) -> list[str]:
    """The numbers of the last job, or of all tasks of the last array, that was submitted."""
    submitted = sorted(logs.glob("*_submitted.pkl"), key=lambda file: file.stat().st_mtime)
    jobs = [file.name.removesuffix("_submitted.pkl") for file in submitted]
    array = [job for job in jobs if job.partition("_")[0] == jobs[-1].partition("_")[0]]
    return sorted(array, key=lambda job: [int(part) for part in job.split("_")])


def _queue(jobs: list[str]) -> dict[str, str]:
    """Number -> state, time and why it waits, of those jobs that are in SLURM's queue or are processes here."""
    found = {}
    with suppress(FileNotFoundError, IndexError):
        number = jobs[0].partition("_")[0]
        command = ["squeue", "-h", "-r", "-j", number, "-o", "%i|%T, %M of %l, %R"]
        listed = subprocess.run(command, capture_output=True, text=True).stdout
        found = dict(line.split("|") for line in listed.splitlines())
    for job in jobs:
        with suppress(psutil.Error, ValueError):
            if "submitit" in " ".join(psutil.Process(int(job)).cmdline()):
                found[job] = "RUNNING, here"
    return found


def _notebook(folder: Path, name: str, found: dict, alive: bool) -> str:
    state, seconds = found["state"], found.get("seconds")
    if state == "running":
        cell = running_cell(folder / f"{name}.ipynb")
        place = f" in cell [{cell}]" if cell else ""
        state = f"running{place}" if alive else f"killed{place}; submit it again to go on, unless it waits below"
    told = [state, seconds and duration(seconds), found.get("error", "").removeprefix(f"{name}: ")]
    return f"{name:<22} {', '.join(filter(None, told))}"


def _job(logs: Path, job: str, queued: str | None, lines: int) -> list[str]:
    """The job's state, the first line of its log, which names the run, and the last lines."""
    found = sorted(logs.glob(f"{job}_*_log.out"))
    if not found:
        lost = f"ended without a log: its node could not write {logs}, or it was cancelled before it began"
        return [f"job {job}  {queued or lost}"]
    said = _said(found[0])
    told = [*said[:1], *said[1:][-lines:]]
    return [f"job {job}  {queued or 'ended'}; {found[0]}", *(f"    {line}" for line in told)]


def _said(log: Path) -> list[str]:
    """The lines of a log without what each job of SLURM says."""
    text = log.read_text(errors="replace").replace("\r", "\n").splitlines()
    return [line for line in text if not NOISE.match(line)]
