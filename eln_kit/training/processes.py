"""Several processes that train one stage together: how many, started from where, and what they do in common."""

import gc
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from eln_kit.device import device
from eln_kit.faults import Fault, ParamsError, WorkerError
from eln_kit.params import Params, Run
from eln_kit.training import tracking
from eln_kit.training.stopping import STOPS, handled, ignored

RANKS, MPI = ("LOCAL_RANK", "RANK", "WORLD_SIZE"), ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
MEASURING = timedelta(days=1)  # that the others wait while the first process measures
FORKS = sys.platform == "linux"  # elsewhere forking after such imports is not safe


def launched() -> bool:
    """Whether this is one of the processes that a launcher (`torchrun`, or `launch`) started.

    Some of its variables alone are left over from another job, and are ignored.
    """
    return all(name in os.environ for name in (*RANKS, "MASTER_ADDR", "MASTER_PORT"))


def is_first() -> bool:
    """Whether this process is alone, or the first of those that a launcher started."""
    return not launched() or os.environ["RANK"] == "0"


def count(params: Params, unlabeled: bool) -> int:
    """How many processes train a stage.

    Raises:
        ParamsError: they would not divide a batch, there are fewer GPUs, or CutMix would find no other image.
    """
    batches = {"data.batch_labeled": params.data.batch_labeled}
    if unlabeled:
        batches["data.batch_unlabeled"] = params.data.batch_unlabeled
    most = params.data.batch_unlabeled // 2 if unlabeled and params.views.cutmix else math.inf  # two images to mix
    gpus = torch.cuda.device_count()
    if launched():
        wanted = int(os.environ["WORLD_SIZE"])
    elif params.run.processes == "auto":
        able = range(1, 1 + max(1, int(min(gpus, most))))
        wanted = max(n for n in able if not any(size % n for size in batches.values()))
    else:
        wanted = params.run.processes
        if gpus and wanted > gpus:
            raise ParamsError(f"run.processes = {wanted}: there are {gpus} GPUs here; lower it, or set it to auto")
    for knob, size in batches.items():
        if size % wanted:
            raise ParamsError(f"{knob} = {size}: {wanted} processes cannot share it evenly; change run.processes or it")
    if wanted > max(1, most):
        raise ParamsError(
            f"data.batch_unlabeled = {params.data.batch_unlabeled}: each of {wanted} processes has one image, and "
            "CutMix needs two; change run.processes, it, or views.cutmix"
        )
    return wanted


def launch(processes: int, function: Callable, *arguments: Any) -> None:
    """Run `function(*arguments)` in that many new processes, with PyTorch's elastic launcher, until all are done.

    On Linux they are forked from a process that has imported what they need and used no GPU, so that they start at
    once; elsewhere they are spawned. What they print appears here.

    Raises:
        KeyboardInterrupt: SIGINT, SIGTERM or SIGHUP came; the processes had 30 s to save.
        Fault: what the first process that failed raised, if it is one.
        WorkerError: any other failure, with its traceback.
    """
    if FORKS:
        forkserver.set_forkserver_preload(["eln_kit.training.fit"])
        with ignored(signal.SIGTERM):  # where it reaches the whole job, each process saves
            forkserver.ensure_running()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="forkserver" if FORKS else "spawn",
        signals_to_handle="SIGQUIT",  # and the others by us
    )
    for part in ("", ".agent.server.api"):  # what they tell is raised below
        logging.getLogger(f"torch.distributed.elastic{part}").setLevel(logging.CRITICAL)
    try:
        with handled(_stop), handled(signal.getsignal(signal.SIGQUIT), [signal.SIGQUIT]):  # which the launcher changes
            elastic_launch(config, function)(*arguments)
        return
    except SignalException:
        end: BaseException = KeyboardInterrupt("stopped; run again to go on")
    except ChildFailedError as error:
        end = _what_failed(error.get_first_failure()[1])
    gc.collect()  # frees the launcher's semaphores, which a kernel that is killed next would leave
    raise end


def _what_failed(failure: ProcessFailure) -> BaseException:
    """The exception that a process's error file tells of; without one, which signal killed it."""
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        hint = "the system may have run out of memory; run again to go on from the last checkpoint"
        return WorkerError(f"a training process was killed by {name}; {hint}")
    message = failure.error_file_data["message"]
    if not isinstance(message, dict):
        return WorkerError(f"a training process died: {message}")
    name, _, text = message["message"].partition(": ")
    kinds: list[type[BaseException]] = [KeyboardInterrupt, Fault, *Fault.__subclasses__()]
    known = {kind.__name__: kind for kind in kinds}
    if name in known:
        return known[name](text)
    return WorkerError(f"a training process died:\n{message['extraInfo']['py_callstack']}")


def _stop(number: int, _frame: object) -> NoReturn:
    """The first signal stops the launcher, whose processes then save; SLURM may repeat it meanwhile."""
    for signal_number in STOPS:
        signal.signal(signal_number, signal.SIG_IGN)
    raise SignalException("stopped", signal.Signals(number))


def accelerate(run: Run, folder: Path, precision: str) -> Accelerator:
    """The processes and the precision to train with; a stage leaves some networks untouched, which DDP must know."""
    AcceleratorState._reset_state()  # a notebook may have trained with another precision before
    if not launched():
        for name in (*RANKS, *MPI):  # accelerate would take any of them for a launcher's
            os.environ.pop(name, None)
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    patient = InitProcessGroupKwargs(timeout=MEASURING)
    accelerator = Accelerator(
        mixed_precision=precision.replace("fp32", "no"),
        cpu=device().type == "cpu",
        kwargs_handlers=[unused, patient],
        **tracking.accelerator_options(run, folder),
    )
    if accelerator.num_processes > 1 and accelerator.device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // accelerator.num_processes))
    return accelerator


def anyone(flag: bool, group: dist.ProcessGroup | None) -> bool:
    """Whether the flag is up in any of the processes, so that all of them stop in the same step.

    It is asked among the processors, so that nobody waits for a GPU.
    """
    if group is None:
        return flag
    flags = torch.tensor(float(flag))
    dist.all_reduce(flags, group=group)
    return bool(flags)
