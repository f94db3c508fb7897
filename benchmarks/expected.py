"""What a notebook tells its reader to expect: figures of docs/evidence, for the tables in notebooks 1 to 6."""

from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parents[1] / "docs"
GAIN = ("stage 3, teacher", "control, averaged as the teacher is")
DETECTORS = ("ensemble", "ELN", "1 - max softmax", "auxiliary decoders", "energy")
SWEEP = "scenes_detection"  # five seeds; 1 - max softmax and ELN as in `make run`, without held-out images


def told(name: str) -> list[str]:
    """The cells beside this name, in the first line of evidence.md that has it."""
    lines = (DOCS / "evidence.md").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def spread(values: pd.Series, digits: int) -> str:
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def networks(*names: str) -> tuple[list[str], list[list[str]]]:
    """mIoU of networks of `make run`, with the interval over images."""
    return ["`make run`, seed 0", "steps", "mIoU, %", "95 % interval over images"], [[n, *told(n)] for n in names]


def detectors() -> tuple[list[str], list[list[str]]]:
    """AUPR after stage 2: of `make run`, and over the seeds of the sweep."""
    seeds = pd.read_csv(DOCS / f"evidence/{SWEEP}.csv").groupby("detector").aupr
    lines = []
    for name in ("1 - max softmax", "mean of the views", "ELN"):
        over = spread(seeds.get_group(name), 3) if name in seeds.groups else "not measured"
        lines.append([name, told(f"after stage 2, {name}")[3], over])
    return ["AUPR of errors", "`make run`, seed 0", "five seeds without held-out images"], lines


def methods() -> tuple[list[str], list[list[str]]]:
    """Some detectors of the sweep, best first."""
    seeds = pd.read_csv(DOCS / f"evidence/{SWEEP}.csv").groupby("detector").aupr
    ranked = sorted(DETECTORS, key=lambda name: -seeds.get_group(name).mean())
    return ["detector, scenes, five seeds", "AUPR of errors"], [[n, spread(seeds.get_group(n), 3)] for n in ranked]


def queue() -> tuple[list[str], list[list[str]]]:
    """What ten more labels were worth on the scenes."""
    runs = pd.read_csv(DOCS / "evidence/queues_shapes.csv").groupby("added by")
    names = {
        "nothing": "none",
        "random x1, draw 1": "ten at random",
        "ELN class-balanced, k-center": "ten of `queue.csv`",
    }
    lines = [
        [told, str(runs.get_group(name).labels.iloc[0]), spread(runs.get_group(name).miou, 1)]
        for name, told in names.items()
    ]
    return ["labels added, scenes, three seeds", "labels", "mIoU, %"], lines
