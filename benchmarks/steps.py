"""What a training step costs beside the networks alone, on this machine.

    python benchmarks/steps.py [--settings shapes voc_20_res101 ...] [--precision fp32 bf16] [--compile] [--json FILE]

For each stage: (a) the step with the real loader, (b) with the batch in memory, (c) the bare networks: forward and
backward of exactly the passes that the stage needs, on the same images, with no loss beyond a mean and no optimizer.
Rounds are interleaved and medians taken, so that a noisy machine does not decide. Seconds a step; `wait` is the share
of (a) that is spent on getting the batch, and GiB the largest memory while (a) and (b) ran: the device's, or on a
processor this process's (Linux).
"""

import argparse
import itertools
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch

from eln_kit.data import make_split, open_dataset
from eln_kit.device import layout
from eln_kit.method.stages import ErrorLocalization, SemiSupervised, Stage, Supervised
from eln_kit.models import Networks
from eln_kit.params import Params
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import build, load
from eln_kit.training.feed import batches
from eln_kit.training.loop import one_step
from eln_kit.training.optimizer import make_optimizer
from eln_kit.training.processes import accelerate

SETTINGS = {
    "shapes": {},
    "camvid": {  # an encoder for small machines, on generated scenes and without pretrained weights
        "run.channels_last": True,
        "data.shapes_size": 240,
        "data.batch_labeled": 6,
        "data.batch_unlabeled": 6,
        "views.crop": [128, 160],
        "model.encoder": "tf_efficientnet_lite0",
        "model.eln_encoder": "tf_efficientnet_lite0",
        "model.decoder_channels": 128,
        "model.atrous_rates": [2, 4, 6],
        "semi_supervised.windows": 4,
        "semi_supervised.window": 16,
    },
    "official": {  # the official networks on a small crop
        "data.shapes_size": 160,
        "data.batch_labeled": 2,
        "data.batch_unlabeled": 2,
        "views.crop": [128, 128],
        "model.encoder": "resnet50",
        "model.eln_encoder": "resnet34",
        "model.dilations": [2, 4, 8],
        "model.eln_dilations": [1, 1, 1],
        "model.decoder_channels": 256,
        "model.embedding_channels": 128,
        "model.atrous_rates": [6, 12, 18],
    },
}

PUBLISHED = ("voc_20_res101", "voc_20_res50", "city_2_res50")  # params files, here on generated scenes
SCENES = {
    "data.name": "shapes",
    "data.root": "",
    "data.labels": 12,
    "data.split_id": None,
    "data.shapes_train": 36,
    "data.shapes_val": 1,
    "model.encoder_weights": "none",
    "model.eln_weights": "none",
}
STEPS = dict.fromkeys(("supervised.steps", "error_localization.steps", "semi_supervised.steps"), 10**6)
COLUMNS = {"a": 3, "b": 3, "c": 3, "b/c": 2, "a/b": 2, "wait": 3, "gib": 2}  # digits of each
WARM = 2  # rounds that are not counted


def bare(stage: Stage, batch: dict, optimizer, accelerator) -> None:
    """Forward and backward of the networks that a step of the stage needs."""
    networks = stage.networks
    names = [*stage.views(batch)[0]] if isinstance(stage, SemiSupervised) else ["image"]
    with accelerator.autocast():
        prediction = networks.student(torch.cat([batch[name] for name in names]))
        outputs = [prediction.logits, prediction.embedding] if len(names) > 1 else [prediction.logits]
        if isinstance(stage, ErrorLocalization):
            count = len(batch["image"])
            features = type(prediction.features)(maps[:count] for maps in prediction.features)
            outputs += [decoder(features) for decoder in networks.auxiliary]
            predictions = stage.without_dropout(features.detach())
            image = batch["image"].repeat(len(predictions) // count, 1, 1, 1)
            outputs.append(networks.eln(image, predictions, stage.looks(batch["image"], features.detach())))
        if len(names) > 1:
            with torch.no_grad():
                logits = networks.teacher(batch["weak"]).logits
                networks.eln.judge_prediction(networks.teacher, batch["weak"], logits)
        loss = sum(each.float().mean() for each in outputs)
    accelerator.backward(loss)
    optimizer.zero_grad()


class PeakMemory:
    """The largest memory since it was made, GiB."""

    def __init__(self):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> float:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() / 2**30
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def setting(name: str, knobs: dict, more: list[str]) -> Params:
    """The params of a setting, with all knobs of `knobs` and then of `more` changed."""
    if name in SETTINGS:
        params = build({}, SETTINGS[name] | knobs)
    else:
        side = max(load(name).views.crop)
        params = load(name, SCENES | {"data.shapes_size": 512 if side <= 512 else 1024} | knobs)
    return build(params.model_dump(), more)


def compile_networks(stage: Stage) -> None:
    """By torch's compiler; on a processor, where it does not pay, they are only traced."""
    for network in (stage.networks.student, stage.networks.teacher, stage.networks.eln):
        network.compile(backend="inductor" if torch.cuda.is_available() else "eager")


def measure(params: Params, kind: type[Stage], rounds: int, compiled: bool) -> dict:
    """Medians of seconds a step for (a), (b) and (c), the ratios, the share of waiting, and memory."""
    dataset = open_dataset(params.data)
    experiment = Experiment(params, Path(params.run.folder), dataset, make_split(dataset, params.data))
    stage = kind(Networks(params, len(dataset.classes)), params)
    accelerator = accelerate(params.run, experiment.folder, params.run.precision)
    stage.to(accelerator.device, memory_format=layout(params.run))
    if compiled:
        compile_networks(stage)
    model, optimizer = accelerator.prepare(stage, make_optimizer(stage, params.optimizer))
    model.train()
    loader = iter(batches(stage, experiment, accelerator, 0))
    kept = next(loader)

    def step(batch: dict) -> None:
        one_step(model, batch, optimizer, accelerator)
        stage.after_step(1)

    def real_step() -> None:
        begin = time.perf_counter()
        batch = next(loader)
        seconds["wait"].append(time.perf_counter() - begin)
        step(batch)

    work = {"a": real_step, "b": partial(step, kept), "c": partial(bare, stage, kept, optimizer, accelerator)}
    seconds = {name: [] for name in (*work, "wait")}
    memory, peak = PeakMemory(), 0.0
    for _ in range(rounds + WARM):
        for name, act in work.items():
            if name == "c":
                peak = memory.read()
            begin = time.perf_counter()
            act()
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - begin)
    a, b, c, wait = (median(seconds[name][WARM:]) for name in (*work, "wait"))
    return {"a": a, "b": b, "c": c, "b/c": b / c, "a/b": a / b, "wait": wait / a, "gib": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=[*SETTINGS, *PUBLISHED], default=list(SETTINGS))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KNOB=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(f"{'setting':<14}{'precision':<11}{'stage':<22}" + "".join(f"{name:>8}" for name in COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        for name, precision in itertools.product(options.settings, options.precision):
            params = setting(name, STEPS | {"run.precision": precision, "run.folder": folder}, options.set)
            for kind in (Supervised, ErrorLocalization, SemiSupervised):
                row = measure(params, kind, options.rounds, options.compile)
                rows.append({"setting": name, "precision": precision, "stage": kind.name, **row})
                figures = "".join(f"{row[name]:>8.{digits}f}" for name, digits in COLUMNS.items())
                print(f"{name:<14}{precision:<11}{kind.name:<22}{figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
