"""What a training step costs beside the networks alone, on this machine.

    python benchmarks/steps.py [--settings shapes camvid official] [--precision fp32 bf16] [--json FILE]

For each stage: (a) the step with the real loader, (b) with the batch in memory, (c) the bare networks: forward and
backward of exactly the passes that the stage needs, on the same images, with no loss beyond a mean and no optimizer.
Rounds are interleaved and medians taken, so that a noisy machine does not decide. Seconds a step.
"""

import argparse
import json
import resource
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch

from eln_kit.data import make_split, open_dataset
from eln_kit.experiment import Experiment
from eln_kit.models import Networks
from eln_kit.models.features import upsample
from eln_kit.params import Params
from eln_kit.params_file import build
from eln_kit.stages import ErrorLocalization, SemiSupervised, Stage, Supervised, evaluating
from eln_kit.train import accelerate, batches, layout, make_optimizer, one_step

SETTINGS = {
    "shapes": {},
    "camvid": {  # as params/camvid.yaml, on generated scenes and without pretrained weights
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
        "run.channels_last": torch.cuda.is_available(),
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


def bare(stage: Stage, batch: dict, optimizer, accelerator) -> None:
    """Forward and backward of the networks that a step of the stage needs."""
    networks, judged = stage.networks, []
    names = ["image", "weak", "strong"] if isinstance(stage, SemiSupervised) else ["image"]
    with accelerator.autocast():
        prediction = networks.student(torch.cat([batch[name] for name in names]))
        outputs = [prediction.logits, prediction.embedding] if len(names) > 1 else [prediction.logits]
        if isinstance(stage, ErrorLocalization):
            count = len(batch["image"])
            features = type(prediction.features)(*(maps[:count] for maps in prediction.features))
            labeled = prediction._replace(logits=prediction.logits[:count], features=features)
            outputs += [decoder(features) for decoder in networks.auxiliary]
            every = torch.cat(stage.without_dropout(labeled))
            outputs.append(networks.eln(batch["image"].repeat(len(every) // count, 1, 1, 1), every))
        if len(names) > 1:
            with torch.no_grad(), evaluating(networks.eln) as eln:
                judged.append(
                    eln(batch["weak"], upsample(networks.teacher(batch["weak"]).logits, batch["weak"].shape[2:]))
                )
        loss = sum(each.float().mean() for each in outputs)
    accelerator.backward(loss)
    optimizer.zero_grad()


def measure(params: Params, kind: type[Stage], rounds: int) -> dict:
    """Medians of seconds a step for (a), (b) and (c), and the ratios."""
    dataset = open_dataset(params.data)
    experiment = Experiment(params, Path(params.run.folder), dataset, make_split(dataset, params.data))
    stage = kind(Networks(params, len(dataset.classes)), params)
    accelerator = accelerate(params.run, experiment.folder)
    stage.to(accelerator.device, memory_format=layout(params.run))
    model, optimizer = accelerator.prepare(stage, make_optimizer(stage, params.optimizer))
    model.train()
    loader = iter(batches(stage, experiment, accelerator, 0))
    kept = next(loader)

    def step(batch: dict) -> None:
        one_step(model, batch, optimizer, accelerator)
        stage.after_step()

    work = {
        "a": lambda: step(next(loader)),
        "b": partial(step, kept),
        "c": partial(bare, stage, kept, optimizer, accelerator),
    }
    seconds = {name: [] for name in work}
    for number in range(rounds + 2):
        for name, act in work.items():
            begin = time.perf_counter()
            act()
            if accelerator.device.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:
                seconds[name].append(time.perf_counter() - begin)
    found = {name: median(values) for name, values in seconds.items()}
    return found | {"b/c": found["b"] / found["c"], "a/b": found["a"] / found["b"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = []
    print(
        f"{'setting':<10}{'precision':<11}{'stage':<22}{'a, s':>8}{'b, s':>8}{'c, s':>8}{'b/c':>7}{'a/b':>7}{'GiB':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for setting in options.settings:
            for precision in options.precision:
                for kind in (Supervised, ErrorLocalization, SemiSupervised):
                    steps = {
                        f"{section}.steps": 10**6 for section in ("supervised", "error_localization", "semi_supervised")
                    }
                    params = build({}, SETTINGS[setting] | steps | {"run.precision": precision, "run.folder": folder})
                    row = measure(params, kind, options.rounds)
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
                    rows.append(
                        {"setting": setting, "precision": precision, "stage": kind.name, **row, "peak_gib": peak}
                    )
                    figures = (
                        "".join(f"{row[n]:>8.3f}" for n in "abc") + f"{row['b/c']:>7.2f}{row['a/b']:>7.2f}{peak:>7.1f}"
                    )
                    print(f"{setting:<10}{precision:<11}{kind.name:<22}{figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
