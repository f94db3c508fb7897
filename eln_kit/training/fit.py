"""The one training loop, on Hugging Face accelerate. Every stage goes through `fit`.

Notebooks call it; on several GPUs it starts processes of its own. Several machines train a stage without its
notebook, which then finds it finished: `torchrun --nnodes ... -m eln_kit.training.fit params/X.yaml 1_supervised`
"""

import argparse
import os
import random
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from timm.layers import convert_sync_batchnorm
from torch import Tensor

from eln_kit.data.extra import weighted
from eln_kit.data.loaders import FAULT, SEED, Faults, training_batches
from eln_kit.data.views import strong_views
from eln_kit.device import layout
from eln_kit.evaluation.calibration import calibrate
from eln_kit.faults import AGAIN, CheckpointError, DataError, Fault
from eln_kit.method.stages import STAGES, Outcome, Stage, strong_names
from eln_kit.params import Params
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, check_unlabeled, open_experiment
from eln_kit.store.lock import held
from eln_kit.store.params_file import load
from eln_kit.training import nodes, processes, tracking
from eln_kit.training.best import Best
from eln_kit.training.log import Log
from eln_kit.training.memory import keep_freed
from eln_kit.training.optimizer import make_optimizer, set_lr
from eln_kit.training.pictures import Pictures
from eln_kit.training.progress import Progress
from eln_kit.training.stopping import noted_signals, saved_before
from eln_kit.training.trial import check_batches


def fit(stage: Stage, experiment: Experiment) -> list[dict]:
    """Train a stage to its end, going on from its checkpoint when there is one.

    Leaves `checkpoint.pt` and `metrics.jsonl` in the stage's folder of the run. A finished stage is loaded, not
    trained again. SIGINT, SIGTERM and SIGHUP save first and then raise KeyboardInterrupt. With `run.processes` above
    one, that many new processes train, and the stage is loaded when they are done.

    Returns:
        The records of `metrics.jsonl`: `step`, `images_per_s`, `lr`, and the mean of each loss and measure.

    Raises:
        CheckpointError: the checkpoint was made with other params, or cannot be read or written.
        TrainingError: a loss is NaN or infinite, or the disk is full.
        LockedError: another process trains this stage in this run folder.
        WorkerError: one of several processes died.
    """
    path = experiment.folder / stage.name / checkpoint.FILE
    state = _resume(path, stage, experiment)
    if not state["finished"]:
        check_batches(experiment.params, len(experiment.dataset.classes))
        number = processes.count(experiment.params, stage.unlabeled)
        if number == 1 or processes.launched():
            with held(path.parent) if processes.is_first() else nullcontext():
                _train(stage, experiment, _resume(path, stage, experiment))  # another may have gone on meanwhile
        else:
            print(f"{stage.name}: {number} processes", flush=True)
            try:
                processes.launch(number, train_stage, experiment.params.model_dump(), stage.name)
            except KeyboardInterrupt as stopped:
                step = checkpoint.load(path)["step"] if checkpoint.exists(path) else 0
                raise KeyboardInterrupt(_saved(stage, step) if step else stopped) from None
            _resume(path, stage, experiment)
    else:
        print(f"{stage.name}: finished before, {stage.steps} steps; loaded, not trained again", flush=True)
    return experiment.records(stage.name)


def train_stage(params: dict, name: str) -> None:
    """Train the stage of that name, with its networks made here; what each of several processes does."""
    if processes.launched() and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # else all would make their networks on the first GPU
    experiment = open_experiment(Params(**params))
    kind = STAGES[name]
    fit(kind(experiment.networks(kind.after), experiment.params), experiment)


def train_with_first_node() -> None:
    """Train each stage that the first of several nodes trains, until that one has ended."""
    for meeting in nodes.meetings():
        processes.attend(meeting, train_stage, *meeting.arguments)


def _train(stage: Stage, experiment: Experiment, state: dict) -> None:
    params, folder = experiment.params, experiment.folder / stage.name
    accelerator = processes.accelerate(params.run, folder)
    if accelerator.device.type == "cpu":
        keep_freed()
    optimizer = make_optimizer(stage, params.optimizer)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        convert_sync_batchnorm(stage.networks)  # PyTorch has none for the CPU
    stage.class_weights = experiment.class_weights
    stage.largest_shares = experiment.largest_shares if stage.unlabeled else None
    stage.to(accelerator.device, memory_format=layout(params.run))  # type: ignore[call-overload]
    model, optimizer = accelerator.prepare(stage, optimizer)
    if state["optimizer"]:
        optimizer.load_state_dict(state["optimizer"])
    if state["scaler"] and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(state["scaler"])

    lines = folder / "metrics.jsonl" if accelerator.is_main_process else None
    mean = partial(accelerator.reduce, reduction="mean")
    log = Log(lines, state["step"] - len(state["pending"]), state["pending"], mean)
    best = Best(stage, experiment, accelerator, state.get("best"))
    save = partial(_save, stage, experiment, optimizer, accelerator, log, best)
    pictures = Pictures(stage, experiment, accelerator.is_main_process)
    with tracking.opened(accelerator, stage, experiment):
        _loop(model, optimizer, accelerator, experiment, log, best, save, pictures, state["step"])
    accelerator.wait_for_everyone()  # the first one has then written what the next stage reads


def _loop(model, optimizer, accelerator, experiment, log, best, save, pictures, first) -> None:
    stage, params = accelerator.unwrap_model(model), experiment.params
    progress = Progress(stage.name, first, stage.steps, shown=accelerator.is_main_process)
    model.train()
    began, images, step = time.monotonic(), 0, first
    alone = accelerator.num_processes == 1  # several save together, and only one may have met the error
    group = None if alone else cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
    saved = saved_before(DataError, lambda: save(step) if step > first else None) if alone else nullcontext()
    with noted_signals() as received, progress, saved:
        for step, batch in enumerate(batches(stage, experiment, accelerator, first), start=first + 1):
            _seed(params.run.seed, step, accelerator)
            lr = stage.lr_factor * set_lr(optimizer, params.optimizer, step, stage.steps)
            log.add(*one_step(model, batch, optimizer, accelerator))
            stage.after_step(step)
            images += sum(len(batch[name]) for name in ("image", "weak") if name in batch)
            progress.step()
            if step % params.run.log_every == 0 or step == stage.steps or best.due(step):
                speed = accelerator.num_processes * images / (time.monotonic() - began)
                extra = {"held_out_miou": best.measure(step)} if best.due(step) else {}
                record = log.write(step, {"images_per_s": round(speed, 1), "lr": lr, **extra})
                progress.show(record)
                accelerator.log(record, step=step)
                began, images = time.monotonic(), 0
            if pictures.due(step):
                pictures.take(step)
            stop = processes.anyone(received.signal is not None, group)
            if stop or step % params.run.save_every == 0 or step == stage.steps:
                save(step)
            if stop and step < stage.steps:
                raise KeyboardInterrupt(_saved(stage, step))


def _saved(stage: Stage, step: int) -> str:
    return f"{stage.name}: saved at step {step}; run again to go on"


def one_step(model: Stage, batch: dict[str, Tensor], optimizer, accelerator: Accelerator) -> Outcome:
    """Forward, backward and optimizer's step on a batch: the losses and measures, still on the device."""
    losses, measures = model(batch)
    accelerator.backward(sum(losses.values()))
    optimizer.step()
    optimizer.zero_grad()
    return losses, measures


def _seed(seed: int, step: int, accelerator: Accelerator) -> None:
    """What a step draws depends on it alone, so a resumed run draws the same; all processes draw the same places."""
    random.seed(seed * 1_000_003 + step)
    torch.manual_seed((seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index)


def batches(stage: Stage, experiment: Experiment, accelerator: Accelerator, first: int):
    """Batches on the device for the steps still to do; unlabelled images are joined where the stage wants them."""
    kinds = [(weighted(experiment.labeled, experiment.extra, experiment.params.data.extra_weight), True)]
    if stage.unlabeled:
        check_unlabeled(experiment.params, experiment.split)
        if stage.name == "bound" and not experiment.bounded:
            raise DataError("evaluation.bound_steps needs masks of unlabelled images, and none has one")
        kinds.append((experiment.split.unlabeled, False))
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
    faults = [Faults(len(items)) for items, _ in kinds]
    images = layout(experiment.params.run)
    try:
        for parts in zip(*loaders, strict=True):
            for part, noted in zip(parts, faults, strict=True):
                noted.note(part.pop(FAULT))
            batch = {name: tensor for part in parts for name, tensor in part.items()}
            seeds = batch.pop(SEED, None)
            for name, tensor in batch.items():
                order = images if tensor.dim() == 4 else torch.preserve_format
                batch[name] = tensor.to(accelerator.device, non_blocking=True, memory_format=order)
            if seeds is not None:
                for name in strong_names(experiment.params):
                    batch[name] = strong_views(batch["weak"], seeds, experiment.params.views)
                    seeds = seeds + 2**40  # other draws
            yield batch
    except DataError as error:  # from a loader process it comes wrapped in that one's traceback
        raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None


def _resume(path: Path, stage: Stage, experiment: Experiment) -> dict:
    """The state to go on from; at the start, one that has done nothing."""
    if not checkpoint.exists(path):
        return {"step": 0, "finished": False, "optimizer": None, "scaler": None, "pending": []}
    state = checkpoint.load(path)
    experiment.check(path, state)
    if state["steps"] != stage.steps:
        raise CheckpointError(
            f"{path}: made for {state['steps']} steps, not {stage.steps}; delete {path.parent} to train it again"
        )
    checkpoint.restore(path, stage.networks, state["networks"])
    return state


def _save(stage, experiment, optimizer, accelerator, log, best, step) -> None:
    pending = log.pending()  # of all processes, so all must ask
    if not accelerator.is_main_process:
        return
    finished = step == stage.steps
    if finished and "eln" in stage.parts and experiment.held_out and experiment.params.error_localization.calibrated:
        calibrate(stage.networks.eln, stage.segmenter, experiment.held_out, experiment.dataset, experiment.params)
    going_on = {
        "optimizer": None if finished else optimizer.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler and not finished else None,
        "pending": pending,
        "best": best.so_far,
    }
    path = experiment.folder / stage.name / checkpoint.FILE
    state = checkpoint.snapshot(stage, experiment.dataset.classes, step, **going_on)
    checkpoint.save(path, state, experiment.params.run.keep)


def main(arguments: list[str] | None = None) -> int:
    """Train one stage without its notebook, in as many processes as the launcher starts."""
    parser = argparse.ArgumentParser(prog="python -m eln_kit.training.fit", description=main.__doc__)
    parser.add_argument("params", metavar="PARAMS.yaml")
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args(arguments)
    try:
        train_stage(load(options.params, options.set).model_dump(), options.stage)
    except (Fault, KeyboardInterrupt) as error:
        print(error, file=sys.stderr)
        return error.status if isinstance(error, Fault) else AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
