"""The contrastive loss alone, forward and backward: ours, and the official code's where a clone of it is given.

    python benchmarks/contrast.py [CLONE] [--rounds 7] [--json FILE]

CLONE is a clone of the public repository kinux98/SSL_ELN.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType, SimpleNamespace

import torch

from eln_kit.method.losses import contrastive_loss

BATCH, CHANNELS, SIDE, CLASSES, WINDOWS, KEPT = 6, 128, 32, 21, 8, 0.85


def official(clone: Path):
    """The official loss of one window, taken from its file without the modules that file imports."""
    lines = (clone / "utils" / "losses.py").read_text().splitlines()
    lines = [line for line in lines if not line.startswith(("from PIL", "from dataset", "crop_f ="))]
    module = ModuleType("official_losses")
    exec("\n".join(lines), module.__dict__)
    return module.batch_pixelwise_distanceloss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(BATCH, WINDOWS, CHANNELS, SIDE, SIDE, generator=draw).to(device) for _ in range(2))
    labels = torch.randint(0, CLASSES, (BATCH, WINDOWS, 4, 4), generator=draw)
    labels = labels.repeat_interleave(SIDE // 4, 2).repeat_interleave(SIDE // 4, 3).to(device)
    keep = (torch.rand(labels.shape, generator=draw) < KEPT).to(device)
    student.requires_grad_()

    def ours(precision: torch.dtype) -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss = contrastive_loss(student, teacher, labels.masked_fill(~keep, 255), 0.5, CLASSES)
        loss.backward()

    work = {"ours, fp32": partial(ours, torch.float32), "ours, bf16": partial(ours, torch.bfloat16)}
    if options.clone:
        loss, setting = official(options.clone), SimpleNamespace(args=SimpleNamespace(temp=0.5))

        def theirs() -> None:
            for w in range(WINDOWS):
                loss(setting, teacher[:, w], student[:, w], keep[:, w].long(), labels[:, w]).backward()

        work["official, fp32"] = theirs
    seconds = {name: [] for name in work}
    for number in range(options.rounds + 1):
        for name, act in work.items():
            begin = time.perf_counter()
            act()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    medians = {name: median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name:<16}{value:.3f} s for {WINDOWS} windows of {BATCH} x {SIDE} x {SIDE} on {device}")
    if options.json:
        options.json.write_text(json.dumps(medians, indent=1))


if __name__ == "__main__":
    sys.exit(main())
