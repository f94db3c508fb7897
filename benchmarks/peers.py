"""Our segmenters beside segmentation_models_pytorch's, trained on the same labelled images in the same way.

    python benchmarks/peers.py params/camvid.yaml --networks ours:segformer smp:segformer smp:fpn --seeds 0 1 2
        [--set section.knob=value ...] [--out FILE.csv]

`ours:NAME` is the kit's segmenter with `model.decoder: NAME`; `smp:NAME` is that library's model of the name, with the
same timm encoder and weights, at stride 32. Data, views, steps, optimizer, rates and evaluation are those of the params
file, for all. First come the seconds a step, in turns, the median of 5 rounds; then, for each network and seed, stage
1's training, and the mIoU on validation images and on labelled ones. With --out a row is added as each ends, and what
has a row is not trained again.
"""

import argparse
import time
from pathlib import Path
from statistics import median

import rows
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eln_kit.data import DataSet, Split, make_split, open_dataset, spread
from eln_kit.data.loaders import training_batches
from eln_kit.device import device, keep_freed, layout, precision_of
from eln_kit.evaluation import segmentation
from eln_kit.method.losses import cross_entropy
from eln_kit.models import Segmenter
from eln_kit.models.encoder import Encoder
from eln_kit.models.segmenter import Normalize
from eln_kit.params import Params
from eln_kit.store.params_file import build, load
from eln_kit.training.optimizer import set_lr

ROUNDS, ROUND = 5, 6  # of so many steps each, when steps are timed


class Peer(nn.Module):
    """A model of segmentation_models_pytorch with our encoder's weights, as `predict` wants it."""

    def __init__(self, name: str, params: Params, classes: int):
        super().__init__()
        ours = Encoder(params.model.encoder, params.model.encoder_weights, pyramid=True)
        self.normalize = Normalize(ours.mean, ours.std)
        self.model = smp.create_model(name, f"tu-{params.model.encoder}", encoder_weights=None, classes=classes)
        self.model.encoder.model.load_state_dict(ours.network.state_dict())
        self.encoder = self.model.encoder

    def logits(self, image: Tensor) -> Tensor:
        """At the image's size; sides are padded to multiples of 32, as that library wants them."""
        height, width = image.shape[2:]
        padded = F.pad(self.normalize(image), (0, -width % 32, 0, -height % 32))
        return self.model(padded)[..., :height, :width]

    predict = logits


class Ours(Segmenter):
    def logits(self, image: Tensor) -> Tensor:
        return self(image).logits


def make(name: str, params: Params, classes: int) -> nn.Module:
    torch.manual_seed(params.run.seed)
    kind, _, decoder = name.partition(":")
    if kind == "smp":
        network = Peer(decoder, params, classes)
    else:
        network = Ours(build(params.model_dump(), {"model.decoder": decoder}).model, classes)
    return network.to(device(), memory_format=layout(params.run)).train()


def make_optimizer(network: nn.Module, params: Params) -> torch.optim.AdamW:
    knobs, encoder = params.optimizer, list(network.encoder.parameters())
    known = set(map(id, encoder))
    others = [each for each in network.parameters() if id(each) not in known]
    groups = [{"params": encoder, "share": knobs.encoder_lr_factor}, {"params": others, "share": 1.0}]
    return torch.optim.AdamW(groups, lr=knobs.lr, weight_decay=knobs.weight_decay, fused=True)


def step(network: nn.Module, optimizer, batch: dict[str, Tensor], params: Params) -> None:
    half = precision_of(params.run.precision, network)[0] == "bf16"
    image = batch["image"].to(device(), memory_format=layout(params.run))
    with torch.autocast(device().type, torch.bfloat16, enabled=half):
        loss = cross_entropy(network.logits(image), batch["mask"].to(device()))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def seconds_a_step(names: list[str], params: Params, dataset: DataSet, split: Split) -> dict[str, float]:
    """The median over rounds in turns, the loader left out."""
    batch = next(iter(training_batches(split.labeled, dataset, params, True, range(1))))
    made = {name: make(name, params, len(dataset.classes)) for name in names}
    optimizers = {name: make_optimizer(network, params) for name, network in made.items()}
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(ROUNDS + 1):
        for name, network in made.items():
            begin = time.perf_counter()
            for _ in range(ROUND):
                step(network, optimizers[name], batch, params)
            if number:  # the first warms up
                taken[name].append((time.perf_counter() - begin) / ROUND)
    return {name: median(each) for name, each in taken.items()}


def train(name: str, params: Params, dataset: DataSet, split: Split) -> dict[str, float]:
    """mIoU in % on validation images and on as many labelled ones, after `supervised.steps`."""
    network, steps = make(name, params, len(dataset.classes)), params.supervised.steps
    optimizer = make_optimizer(network, params)
    loader = training_batches(split.labeled, dataset, params, True, range(steps))
    for number, batch in enumerate(loader, start=1):
        set_lr(optimizer, params.optimizer, number, steps)
        step(network, optimizer, batch, params)
    validation = segmentation.validation_items(dataset, params)
    parts = {"validation": validation, "labelled": spread(split.labeled, len(validation))}
    counts = {part: segmentation.confusion(network, items, dataset, params) for part, items in parts.items()}
    return {
        part: round(100 * segmentation.summarize_confusion(count.sum(0), dataset.classes)["miou"], 2)
        for part, count in counts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params")
    parser.add_argument("--networks", nargs="+", default=["ours:segformer", "ours:deeplabv3plus", "smp:segformer"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-timing", action="store_true")
    options = parser.parse_args()
    keep_freed()
    params = load(options.params, options.set)
    dataset = open_dataset(params.data)
    split = make_split(dataset, params.data)
    if not options.no_timing:
        for name, taken in seconds_a_step(options.networks, params, dataset, split).items():
            print(f"{name:<22} {taken:.3f} s a step", flush=True)
    done = {(row["network"], int(row["seed"]), row["knobs"]) for row in rows.read(options.out)}
    knobs = " ".join([options.params, *options.set])
    for seed in options.seeds:
        for name in options.networks:
            if (name, seed, knobs) in done:
                continue
            run = params.run.model_copy(update={"seed": seed})
            begin = time.monotonic()
            row = {"network": name, "seed": seed, "labels": len(split.labeled), "steps": params.supervised.steps}
            row |= train(name, params.model_copy(update={"run": run}), dataset, split)
            row |= {"minutes": round((time.monotonic() - begin) / 60, 1), "knobs": knobs}
            rows.tell(row, options.out)


if __name__ == "__main__":
    main()
