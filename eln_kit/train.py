"""The one training loop, on Hugging Face accelerate. Every stage goes through `fit`.

Notebooks call it in their kernel. On several GPUs, train a stage without its notebook, which then finds it finished:
`torchrun --nproc-per-node 4 -m eln_kit.train params/X.yaml 1_supervised`
"""

import argparse
import signal
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import Tensor

from eln_kit import checkpoint
from eln_kit.data import DataError
from eln_kit.data.loaders import training_batches
from eln_kit.experiment import EXPECTED, Experiment, device, open_experiment
from eln_kit.log import Log
from eln_kit.params import Optimizer
from eln_kit.params_file import load
from eln_kit.progress import Progress
from eln_kit.stages import Control, ErrorLocalization, SemiSupervised, Stage, Supervised


def fit(stage: Stage, experiment: Experiment) -> list[dict]:
    """Train a stage to its end, going on from its checkpoint when there is one.

    Leaves `checkpoint.pt` and `metrics.jsonl` in the stage's folder of the run. A finished stage is loaded, not
    trained again. SIGINT and SIGTERM save first and then raise KeyboardInterrupt.

    Returns:
        The records of `metrics.jsonl`: `step`, `images_per_s`, `lr`, and the mean of each loss and measure.

    Raises:
        CheckpointError: the checkpoint was made with other params, or cannot be read or written.
        TrainingError: a loss is NaN or infinite.
    """
    params = experiment.params
    folder = experiment.folder / stage.name
    path = folder / checkpoint.FILE
    state = _resume(path, stage, experiment)
    if state["finished"]:
        return experiment.records(stage.name)

    accelerator = _accelerator(params.run.precision)
    groups = stage.networks.parameter_groups(params.optimizer.lr, params.optimizer.encoder_lr_factor)
    optimizer = torch.optim.AdamW(groups, weight_decay=params.optimizer.weight_decay)
    stage.to(accelerator.device, memory_format=torch.channels_last)
    model, optimizer = accelerator.prepare(stage, optimizer)
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    if state["scaler"] and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])

    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / "metrics.jsonl" if accelerator.is_main_process else None
    log = Log(lines, state["step"] - len(state["pending"]), state["pending"], accelerator.reduce)
    save = partial(_save, path, stage, experiment, optimizer, accelerator, log)
    _loop(model, optimizer, accelerator, experiment, log, save, state["step"])
    return experiment.records(stage.name)


def _loop(model, optimizer, accelerator, experiment, log, save, first) -> None:
    stage, params = accelerator.unwrap_model(model), experiment.params
    progress = Progress(stage.name, first, stage.steps, shown=accelerator.is_main_process)
    model.train()
    began, images, step = time.monotonic(), 0, first
    with _signals() as received, progress, _saved_before(DataError, lambda: save(step)):
        for step, batch in enumerate(_batches(stage, experiment, accelerator, first), start=first + 1):
            _seed(params.run.seed, step, accelerator)
            lr = _set_lr(optimizer, params.optimizer, step, stage.steps)
            losses, measures = model(batch)
            accelerator.backward(sum(losses.values()))
            optimizer.step()
            optimizer.zero_grad()
            stage.after_step()

            log.add(losses, measures)
            images += sum(len(batch[name]) for name in ("image", "weak") if name in batch)
            progress.step()
            if step % params.run.log_every == 0 or step == stage.steps:
                speed = accelerator.num_processes * images / (time.monotonic() - began)
                progress.show(log.write(step, {"images_per_s": round(speed, 1), "lr": lr}))
                began, images = time.monotonic(), 0
            stop = _anyone(received.signal is not None, accelerator)
            if stop or step % params.run.save_every == 0 or step == stage.steps:
                save(step)
            if stop and step < stage.steps:
                raise KeyboardInterrupt(f"{stage.name}: saved at step {step}; run again to go on")


def _accelerator(precision: str) -> Accelerator:
    """The processes and the precision to train with; a stage leaves some networks untouched, which DDP must know."""
    AcceleratorState._reset_state()  # a notebook may have trained with another precision before
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision=_precision(precision), cpu=device().type == "cpu", kwargs_handlers=[unused])


def _seed(seed: int, step: int, accelerator: Accelerator) -> None:
    """Dropout and windows are drawn from the step's own seed, so a resumed run draws the same."""
    torch.manual_seed((seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index)


def _anyone(flag: bool, accelerator: Accelerator) -> bool:
    """Whether the flag is up in any of the processes, so that all of them stop in the same step."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def _batches(stage: Stage, experiment: Experiment, accelerator: Accelerator, first: int):
    """Batches on the device for the steps still to do; unlabelled images are joined where the stage wants them."""
    kinds = [(experiment.split.labeled, True)]
    if stage.unlabeled:
        items = experiment.split.unlabeled
        if not items:
            raise DataError("no unlabelled images are left: lower data.labels or set semi_supervised.unlabeled=false")
        if experiment.params.semi_supervised.filter == "oracle" and not any(item.mask for item in items):
            raise DataError("semi_supervised.filter=oracle needs masks of the unlabelled images, and none has one")
        kinds.append((items, False))
    loaders = [
        training_batches(
            items,
            experiment.dataset,
            experiment.params,
            labeled,
            range(first, stage.steps),
            accelerator.process_index,
            accelerator.num_processes,
        )
        for items, labeled in kinds
    ]
    try:
        for parts in zip(*loaders, strict=True):
            batch = {name: tensor for part in parts for name, tensor in part.items()}
            yield {name: _to_device(tensor, accelerator.device) for name, tensor in batch.items()}
    except DataError as error:  # from a loader process it comes wrapped in that one's traceback
        raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None


def _to_device(tensor: Tensor, target: torch.device) -> Tensor:
    layout = torch.channels_last if tensor.dim() == 4 else torch.preserve_format
    return tensor.to(target, non_blocking=True, memory_format=layout)


def _set_lr(optimizer, knobs: Optimizer, step: int, steps: int) -> float:
    """Set each group's rate for this step (counted from 1) and give the decoders' one."""
    factor = (1 - (step - 1) / steps) ** 0.9 if knobs.schedule == "poly" else 1.0
    encoders, others = optimizer.param_groups
    encoders["lr"], others["lr"] = knobs.lr * knobs.encoder_lr_factor * factor, knobs.lr * factor
    return others["lr"]


def _precision(wanted: str) -> str:
    """accelerate's name of the precision; auto is bf16 where the hardware computes in it."""
    if wanted != "auto":
        return {"fp32": "no"}.get(wanted, wanted)
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    fast = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # elsewhere oneDNN emulates bf16, slowly
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in fast) else "no"


def _resume(path: Path, stage: Stage, experiment: Experiment) -> dict:
    """The state to go on from; at the start, one that has done nothing."""
    if not path.exists():
        return {"step": 0, "finished": False, "optimizer": None, "scaler": None, "pending": []}
    state = checkpoint.load(path)
    experiment.check(path, state)
    if state["steps"] != stage.steps:
        raise checkpoint.CheckpointError(
            f"{path}: made for {state['steps']} steps, not {stage.steps}; delete {path.parent} to train it again"
        )
    checkpoint.restore(path, stage.networks, state["networks"])
    return state


def _save(path, stage, experiment, optimizer, accelerator, log, step) -> None:
    finished = step == stage.steps
    pending = log.pending()  # of all processes, so all must ask
    if not accelerator.is_main_process:
        return
    going_on = {
        "optimizer": None if finished else optimizer.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler and not finished else None,
        "pending": pending,
    }
    checkpoint.save(path, checkpoint.snapshot(stage, experiment.dataset.classes, step, **going_on))


@contextmanager
def _saved_before(kind: type[Exception], save):
    try:
        yield
    except kind:
        save()
        raise


@contextmanager
def _signals():
    """SIGINT and SIGTERM set `received.signal` instead of stopping a step midway (main thread only)."""
    received = SimpleNamespace(signal=None)
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number, frame):
        received.signal = number

    old = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def main(arguments: list[str] | None = None) -> int:
    """Train one stage without its notebook, in as many processes as the launcher starts."""
    stages = {stage.name: stage for stage in (Supervised, ErrorLocalization, SemiSupervised, Control)}
    parser = argparse.ArgumentParser(prog="python -m eln_kit.train", description=main.__doc__)
    parser.add_argument("params", metavar="PARAMS.yaml")
    parser.add_argument("stage", choices=stages)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args(arguments)
    try:
        experiment = open_experiment(load(options.params, options.set))
        kind = stages[options.stage]
        fit(kind(experiment.networks(kind.after), experiment.params), experiment)
    except (*EXPECTED, KeyboardInterrupt) as error:
        print(error, file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
