"""Runs and sweeps as jobs of a cluster, by submitit: `eln-kit submit`. What such a job then does is in `job`."""

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

from eln_kit.batch import job, sweep
from eln_kit.batch.cluster import Cluster
from eln_kit.batch.state import usable
from eln_kit.faults import RunError
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint

WARNING = 120  # seconds that a job has for saving before its time limit


def submit_run(params: Params, cluster: Cluster, dry_run: bool) -> str:
    """Submit the notebooks of a run as one job; what was done in words, or with `dry_run` the job's script.

    Raises:
        CheckpointError: the run folder holds stages that were trained with other params.
        RunError: there is no SLURM here, or it refuses the job, or the run folder cannot be written.
    """
    folder = resolve(params.run.folder)
    checkpoint.check_stages(folder, params)
    executor = _executor(cluster, folder, dry_run)
    if dry_run:
        return _script(executor)
    number = _submit(executor, [partial(job.work, cluster.requeues, job.run_notebooks, params)])
    return _told(number, folder, cluster)


def submit_sweep(runs: list[Params], cluster: Cluster, dry_run: bool) -> str:
    """Submit a sweep as one job array, whose tasks wait for those that train their stages; see `sweep.divide`.

    The executor local has one process for all. Raises RunError as `submit_run` does.
    """
    folder, tasks = resolve(runs[0].run.folder).parent.parent, sweep.divide(runs)
    executor = _executor(cluster, folder, dry_run)
    if cluster.executor == "local":
        if dry_run:
            return _script(executor)
        return _told(_submit(executor, [partial(job.work, 0, sweep.carry_out, runs)]), folder, cluster)
    executor.parameters["additional_parameters"] |= {"hold": True, "kill-on-invalid-dep": "yes"}
    after = [f", after {', '.join(map(str, task.after))}" if task.after else "" for task in tasks]
    plan = [f"task {number}  {task.name(runs)}{after[number]}" for number, task in enumerate(tasks)]
    if dry_run:
        executor.parameters["map_count"] = len(tasks)
        return "\n".join([_script(executor), *(f"# {line}" for line in plan)])
    calls = [partial(job.work, cluster.requeues, sweep.carry_out_task, task, runs) for task in tasks]
    array = _submit(executor, calls).partition("_")[0]
    _release(array, tasks, runs)
    return "\n".join([_told(array, folder, cluster, f"{array}_*"), *plan])


def _executor(cluster: Cluster, folder: Path, dry_run: bool) -> Any:
    """submitit's, with all that a job asks for."""
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "TERM"  # on which a run saves; read when submitit is imported
    import submitit
    import torch

    anywhere = patch.object(submitit.SlurmExecutor, "affinity", lambda *_: 1)  # for its script
    try:
        with usable(folder), anywhere if dry_run else nullcontext():
            executor = submitit.AutoExecutor(folder / job.LOGS, cluster=cluster.executor)
    except RuntimeError:
        raise RunError("there is no SLURM here: submit where sbatch is, or take --executor local") from None
    executor.update_parameters(
        name=folder.name,
        nodes=1,
        tasks_per_node=1,
        gpus_per_node=cluster.gpus or (cluster.executor == "local" and torch.cuda.device_count()) or None,
        cpus_per_task=cluster.cpus,
        mem_gb=cluster.memory,
        timeout_min=cluster.time,
        stderr_to_stdout=True,
        slurm_partition=cluster.partition,
        slurm_account=cluster.account or None,
        slurm_setup=cluster.setup or None,
        slurm_srun_args=[f"--cpus-per-task={cluster.cpus}"] if cluster.cpus else [],  # since 22.05 not sbatch's
        slurm_additional_parameters={"requeue": True} | cluster.sbatch,
        local_setup=cluster.setup,
    )
    executor.parameters["signal_delay_s"] = min(WARNING, 60 * cluster.time // 3)
    executor.parameters["wckey"] = None  # submitit has one of its own, which a site may refuse
    return executor


def _script(executor: Any) -> str:
    command = executor._executor._submitit_command_str
    if executor.cluster == "local":
        return f"# no script: the executor local starts this in the background\n{command}"
    return executor._executor._make_submission_file_text(command, "")


def _submit(executor: Any, calls: Sequence[Callable[[], None]]) -> str:
    """The number of the job, or of the first task of the array."""
    from submitit.core.utils import UncompletedJobError

    try:
        with usable(executor.folder.parent), redirect_stderr(StringIO()):  # the error has all that is printed there
            return executor.submit_array(calls)[0].job_id
    except UncompletedJobError as error:
        for left in (*executor.folder.glob(".submission_file_*"), *executor.folder.glob(f"{'[0-9a-f]' * 32}.pkl")):
            left.unlink()
        lines = [line.removeprefix("sbatch: error: ") for line in str(error).splitlines()]
        raise RunError(f"SLURM refuses the job: {'; '.join(lines)}") from None


def _release(array: str, tasks: list[sweep.Task], runs: list[Params]) -> None:
    """Name the tasks of a held array, tell SLURM which waits for which, and let them go."""
    for number, task in enumerate(tasks):  # first: a change of its own is what makes a task a job of its own
        _scontrol(array, "update", f"jobid={array}_{number}", f"jobname={task.name(runs)}")
    for number, task in enumerate(tasks):
        if task.after:
            ended = "afterok" if task.stages else "afterany"
            waited = ":".join(f"{array}_{other}" for other in task.after)
            _scontrol(array, "update", f"jobid={array}_{number}", f"dependency={ended}:{waited}")
    _scontrol(array, "release", array)


def _scontrol(array: str, *arguments: str) -> None:
    done = subprocess.run(["scontrol", *arguments], capture_output=True, text=True)
    if done.returncode:
        subprocess.run(["scancel", array], check=False)
        raise RunError(f"job {array} was cancelled: scontrol {' '.join(arguments)}: {' '.join(done.stderr.split())}")


def _told(number: str, folder: Path, cluster: Cluster, logs: str = "") -> str:
    asked = cluster.model_dump(exclude_none=True, exclude_defaults=True) | {"time": f"{cluster.time} min"}
    return "\n".join(
        [
            f"job {number}  {', '.join(f'{name} {value}' for name, value in asked.items())}",
            f"log    {folder / job.LOGS / f'{logs or number}_0_log.out'}",
            f"watch  eln-kit status {folder}",
        ]
    )
