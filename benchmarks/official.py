"""A stage-3 step of the official code beside ours: same networks, crop and batches, on this machine.

    python benchmarks/official.py CLONE [--depth 50] [--crop 128] [--batch 2] [--precision fp32 bf16] [--json FILE]

CLONE is a clone of the public repository kinux98/SSL_ELN, whose own TrainManager takes the step; what it wants beside
torch (wandb, cv2, weights from the network) is replaced by nothing, and `.cuda()` does nothing without a GPU. Both
have their batch in memory, and processes of their own, which take turns. Auxiliary decoders are made bad enough that
they train in each step. Each has its own contrastive loss: both compare all kept pixels of a window with each other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import repeat
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from unittest import mock

import torch
from steps import SETTINGS

from eln_kit.device import layout
from eln_kit.method.stages import SemiSupervised
from eln_kit.models import Networks
from eln_kit.store.params_file import build
from eln_kit.training.loop import one_step
from eln_kit.training.optimizer import make_optimizer
from eln_kit.training.processes import accelerate

CLASSES = 21


def official_step(clone: Path, depth: int, batch: dict, cuda: bool):
    """A function that takes one step of the official code's stage 3."""
    sys.path.insert(0, str(clone))
    for name in ("wandb", "cv2"):
        sys.modules[name] = mock.MagicMock()
    if not cuda:
        torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *_: self
    torch.utils.model_zoo.load_url = lambda *_, **__: {}
    import train as official

    model = [official.DeepLab(16, depth), official.Decoder(num_cls=CLASSES), official.ELNetwork(num_classes=CLASSES)]
    auxiliary = [official.Decoder(num_cls=CLASSES) for _ in range(2)]
    for decoder in auxiliary:
        worsen(decoder.cls)
    parts = [part.cuda() for part in (*model, *auxiliary)]
    optimizer = torch.optim.AdamW([p for part in parts for p in part.parameters()], lr=1e-4, weight_decay=1e-5)
    scaler = torch.amp.GradScaler("cuda") if cuda else mock.MagicMock(scale=lambda loss: loss, step=lambda o: o.step())
    arguments = SimpleNamespace(pre_epoch=40, eln_epoch=50, temp=0.5)
    encoder, decoder, eln, *auxiliary = parts
    manager = official.TrainManager(
        encoder, decoder, eln, auxiliary, optimizer, arguments, "", None, None, None, scaler, CLASSES, 0
    )
    batches = repeat(((batch["image"], batch["mask"]), (batch["weak"], batch["truth"], batch["strong"])))
    return lambda: manager.train_both(90, batches, 1)


def our_step(params, batch: dict):
    """A function that takes one step of ours."""
    stage = SemiSupervised(Networks(params, CLASSES), params)
    for decoder in stage.networks.auxiliary:
        worsen(decoder.classify)
    accelerator, images = accelerate(params.run, Path(params.run.folder), params.run.precision), layout(params.run)
    batch = {name: each.contiguous(memory_format=images) if each.dim() == 4 else each for name, each in batch.items()}
    stage.to(accelerator.device, memory_format=images)
    model, optimizer = accelerator.prepare(stage, make_optimizer(stage, params.optimizer))
    model.train()

    def step() -> None:
        one_step(model, batch, optimizer, accelerator)
        stage.after_step(1)

    return step


def worsen(head: torch.nn.Module) -> None:
    """Multiply the last layer's weights, so that the loss is far above any ratio of the main one's."""
    *_, last = (module for module in head.modules() if isinstance(module, torch.nn.Conv2d))
    last.weight.data *= 1e4


def median_of_steps(act, rounds: int, cuda: bool) -> float:
    """Seconds a step, after two to warm up."""
    seconds = []
    for _ in range(rounds + 2):
        begin = time.perf_counter()
        act()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[2:])


def one(options: argparse.Namespace) -> float:
    """Seconds a step of `options.only`, the official code or ours in a precision, in this process."""
    draw, side, cuda = torch.Generator().manual_seed(0), options.crop, torch.cuda.is_available()
    shape = (options.batch, 3, side, side)
    labels = [torch.randint(0, CLASSES, (options.batch, side // 16, side // 16), generator=draw) for _ in range(2)]
    mask, truth = (each.repeat_interleave(16, 1).repeat_interleave(16, 2) for each in labels)
    batch = {name: torch.rand(shape, generator=draw) for name in ("image", "weak", "strong")}
    batch |= {"mask": mask, "truth": truth, "valid": torch.ones_like(mask).bool()}
    batch = {name: tensor.cuda() for name, tensor in batch.items()} if cuda else batch
    if options.only == "official":
        return median_of_steps(official_step(options.clone, options.depth, batch, cuda), options.rounds, cuda)
    with tempfile.TemporaryDirectory() as folder:
        knobs = {"views.crop": [side, side], "model.encoder": f"resnet{options.depth}", "run.folder": folder}
        knobs |= {"semi_supervised.threshold": 0.0, "error_localization.ratios": [20.0, 50.0]}  # keeps all pixels
        params = build({}, SETTINGS["official"] | knobs | {"run.precision": options.only})
        return median_of_steps(our_step(params, batch), options.rounds, cuda)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path)
    parser.add_argument("--depth", type=int, default=50, choices=[50, 101])
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3, help="processes of each, in turn")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(one(options))
        return
    seconds = {name: [] for name in ("official", *options.precision)}
    for _ in range(options.turns):
        for name, found in seconds.items():
            command = [sys.executable, *sys.argv, "--only", name]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(float(output.split()[-1]))
    for name, found in seconds.items():
        faster = median(seconds["official"]) / median(found)
        print(
            f"{name:<10}{median(found):.2f} s a step ({min(found):.2f} to {max(found):.2f}), {faster:.2f} times as fast"
        )
    if options.json:
        options.json.write_text(json.dumps(seconds, indent=1))


if __name__ == "__main__":
    main()
