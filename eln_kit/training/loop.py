"""The one training loop, on Hugging Face accelerate. Every stage goes through it."""

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from timm.layers import convert_sync_batchnorm
from torch import nn

from eln_kit.data.views import Batch
from eln_kit.device import keep_freed, layout, precision_of
from eln_kit.evaluation.calibration import calibrate
from eln_kit.faults import DataError
from eln_kit.method.stage import Outcome, Stage
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment
from eln_kit.training import processes, tracking
from eln_kit.training.best import Best
from eln_kit.training.feed import batches
from eln_kit.training.log import Log
from eln_kit.training.optimizer import make_optimizer, set_lr
from eln_kit.training.pictures import Pictures
from eln_kit.training.progress import Progress
from eln_kit.training.stopping import noted_signals, saved_before


@dataclass
class Training:
    """What a process holds while it trains a stage.

    Attributes:
        model: the stage, perhaps wrapped for several processes.
        first: steps done before.
    """

    stage: Stage
    experiment: Experiment
    accelerator: Accelerator
    model: nn.Module
    optimizer: AcceleratedOptimizer
    log: Log
    best: Best
    first: int

    def save(self, step: int) -> None:
        """Write the checkpoint; after the last step ELN is calibrated first, where images are held out."""
        pending = self.log.pending()  # of all processes, so all must ask
        if not self.accelerator.is_main_process:
            return
        stage, experiment, finished = self.stage, self.experiment, step == self.stage.steps
        if (
            finished
            and "eln" in stage.parts
            and experiment.held_out
            and experiment.params.error_localization.calibrated
        ):
            calibrate(stage.networks.eln, stage.segmenter, experiment.held_out, experiment.dataset, experiment.params)
        scaler = self.accelerator.scaler
        going_on = {
            "optimizer": None if finished else self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler and not finished else None,
            "pending": pending,
            "best": self.best.so_far,
        }
        state = checkpoint.snapshot(stage, experiment.dataset.classes, step, **going_on)
        checkpoint.save(experiment.folder / stage.name / checkpoint.FILE, state, experiment.params.run.keep)

    def record(self, step: int, images_per_s: float, lr: float) -> dict:
        """A line of the log."""
        extra = {"held_out_miou": self.best.measure(step)} if self.best.due(step) else {}
        record = self.log.write(step, {"images_per_s": round(images_per_s, 1), "lr": lr, **extra})
        self.accelerator.log(record, step=step)
        return record


def train(stage: Stage, experiment: Experiment, state: dict) -> None:
    """Train to the last step from a checkpoint's state, or from one that has done nothing."""
    params, folder = experiment.params, experiment.folder / stage.name
    precision, why = precision_of(params.run.precision, stage.networks.student)
    accelerator = processes.accelerate(params.run, folder, precision)
    if accelerator.is_main_process:
        print(f"{stage.name}: in {precision} ({why})", flush=True)
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
    with tracking.opened(accelerator, stage, experiment):
        _loop(Training(stage, experiment, accelerator, model, optimizer, log, best, state["step"]))
    accelerator.wait_for_everyone()  # the first one has then written what the next stage reads


def _loop(training: Training) -> None:
    stage, params, accelerator, first = training.stage, training.experiment.params, training.accelerator, training.first
    pictures = Pictures(stage, training.experiment, accelerator.is_main_process)
    progress = Progress(stage.name, first, stage.steps, shown=accelerator.is_main_process)
    training.model.train()
    began, images, step = time.monotonic(), 0, first
    alone = accelerator.num_processes == 1  # several save together, and only one may have met the error
    group = None if alone else cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
    kept = saved_before(DataError, lambda: training.save(step) if step > first else None) if alone else nullcontext()
    with noted_signals() as received, progress, kept:
        for step, batch in enumerate(batches(stage, training.experiment, accelerator, first), start=first + 1):
            _seed(params.run.seed, step, accelerator)
            lr = set_lr(training.optimizer, params.optimizer, step, stage.steps)
            stage.step = step
            training.log.add(*one_step(training.model, batch, training.optimizer, accelerator))
            stage.update_teacher(step)
            images += len(batch.get("image", ())) + len(batch.get("weak", ()))
            progress.step()
            if step % params.run.log_every == 0 or step == stage.steps or training.best.due(step):
                speed = accelerator.num_processes * images / (time.monotonic() - began)
                progress.show(training.record(step, speed, lr))
                began, images = time.monotonic(), 0
            if pictures.due(step):
                pictures.take(step)
            stop = processes.anyone(received.signal is not None, group)
            if stop or step % params.run.save_every == 0 or step == stage.steps:
                training.save(step)
            if stop and step < stage.steps:
                raise KeyboardInterrupt(saved(stage, step))


def one_step(model: nn.Module, batch: Batch, optimizer: AcceleratedOptimizer, accelerator: Accelerator) -> Outcome:
    """Forward, backward and optimizer's step on a batch: the losses and measures, still on the device."""
    losses, measures = model(batch)
    accelerator.backward(sum(losses.values()))
    accelerator.unwrap_model(model).before_optimizer()
    optimizer.step()
    optimizer.zero_grad()
    return losses, measures


def _seed(seed: int, step: int, accelerator: Accelerator) -> None:
    """What a step draws depends on it alone, so a resumed run draws the same; all processes draw the same places."""
    random.seed(seed * 1_000_003 + step)
    torch.manual_seed((seed * 1_000_003 + step) * accelerator.num_processes + accelerator.process_index)


def saved(stage: Stage, step: int) -> str:
    """What a person is told when training is stopped."""
    return f"{stage.name}: saved at step {step}; run again to go on"
