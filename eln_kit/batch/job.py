"""What a job of a cluster does: its work, and when it was stopped and has saved, back into the queue."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from eln_kit.faults import AGAIN, FAILED, Fault, Interrupted
from eln_kit.params import Params

LOGS = "slurm"  # folder of scripts and logs, in that of a run or a sweep


def work(requeues: int, function: Callable, *arguments: Any) -> None:
    """Call the function with these arguments; an error that is for a person is one line, and the exit status tells.

    SIGTERM, which SLURM sends before a time limit and to a job that it pre-empts, ends in the queue again, at most
    `requeues` times.
    """
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGCONT, signal.SIG_DFL)  # which SLURM sends before it; submitit would tell of each
    try:
        function(*arguments)
    except (Fault, KeyboardInterrupt) as stopped:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes again when the job is requeued
        print(stopped, file=sys.stderr, flush=True)
        if isinstance(stopped, KeyboardInterrupt) or stopped.status == AGAIN:
            print(_requeue(requeues), file=sys.stderr, flush=True)
        sys.exit(FAILED)  # not 75: where SLURM requeues that, nobody would count


def _told(name: str) -> int:
    """A number that SLURM tells its jobs; 0 where it runs none of this."""
    return int(os.environ.get(f"SLURM_{name}", 0)) if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else 0


def _stop(_number: int, _frame: object) -> NoReturn:
    raise Interrupted("interrupted between two stages; what has finished is kept")


def _requeue(most: int) -> str:
    """Put this job into the queue again, unless SLURM is ending it already; what became of it, as a line."""
    job, before = str(_told("JOB_ID")), _told("RESTART_COUNT")
    if job == "0":
        return "submit it again to go on"
    asked = subprocess.run(["squeue", "-h", "-r", "-j", job, "-o", "%A %i %T"], capture_output=True, text=True)
    own = [line.split() for line in asked.stdout.splitlines() if line.startswith(f"{job} ")] or [[job, job, "ENDED"]]
    _, job, state = own[0]  # a task of an array has a number of its own
    if state != "RUNNING" and not asked.returncode:
        return f"job {job}: SLURM itself has cancelled or requeued it"
    if before >= most:
        return f"job {job}: was requeued {before} times, which is as often as it may; submit it again to go on"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        return f"job {job}: could not be requeued ({' '.join(done.stderr.split())}); submit it again to go on"
    return f"job {job}: requeued, {before + 1} of at most {most} times"


def run_notebooks(params: Params) -> None:
    """Execute the notebooks of a run, or go on, and print its table; see `eln_kit.batch.run.run`."""
    from eln_kit.batch import report, state
    from eln_kit.paths import resolve

    folder, sources = resolve(params.run.folder), state.notebooks(state.NOTEBOOKS)
    if all(finished for finished, _ in state.finished_before(folder, sources, params.model_dump()).values()):
        print(f"{folder}: finished before, with the same params and notebooks")
    else:
        from eln_kit.batch import kernels

        kernels.warm_up()  # beside the imports that follow
        from eln_kit.batch.run import run

        run(params, sources)
    results = folder / report.RESULTS
    if results.is_file():
        found = json.loads(results.read_text())
        print("", report.table(found), *report.labels_gain(found), "", sep="\n")
    print(folder / "index.html")
