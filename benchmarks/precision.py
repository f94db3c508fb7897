"""Does `eln-kit predict --precision` keep its promise? Thresholds set on some labels, tried on others, 20 random draws.

    python benchmarks/precision.py RUN [--draws 20]

Two ways: a threshold from a random half of the unlabelled training images, whose masks the run has not seen, tried on
the validation images; and both put together, one random half for the threshold and the other to try it on. The first
asks more: validation images may be unlike the training ones, and then nothing is promised.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from eln_kit.data import Item, read_mask
from eln_kit.store.experiment import reopen
from eln_kit.tools import promise
from eln_kit.tools.model import Model, load

PRECISIONS = (0.95, 0.98, 0.99)


def histograms(model: Model, items: list[Item]) -> np.ndarray:
    """Pixels of each image by level of trust, wrong or right: int `N 256 2`."""
    found = model.each(model.read(item.image) for item in tqdm(items, disable=None))
    masks = (read_mask(item, model.dataset).numpy() for item in items)
    pairs = zip(found, masks, strict=True)
    return np.stack([promise.histogram(f.mask, f.trust, truth, len(model.classes)).sum(0) for f, truth in pairs])


def outcome(given: np.ndarray, tried: np.ndarray, precision: float) -> tuple[float, float] | None:
    """Share kept of the tried pixels, and share right of those kept in an average image; None without a promise."""
    if (level := promise.promised(given, precision)) == promise.NEVER:
        return None
    wrong, right = np.moveaxis(tried[:, level:].sum(1), 1, 0)
    return (wrong + right).sum() / tried.sum(), 1 - (wrong / np.maximum(wrong + right, 1)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=20)
    options = parser.parse_args()
    model, split = load(options.run), reopen(options.run).split
    others, val = (histograms(model, items) for items in ([i for i in split.unlabeled if i.mask], model.dataset.val))
    together = np.concatenate([others, val])
    print("| threshold from | tried on | precision | promised | kept | right of the kept | met |\n" + "|---" * 7 + "|")
    for precision in PRECISIONS:
        for pool, tried in ((others, val), (together, None)):
            found = []
            for draw in range(options.draws):
                order, half = np.random.default_rng(draw).permutation(len(pool)), len(pool) // 2
                rest = pool[order[half:]] if tried is None else tried
                found.append(outcome(pool[order[:half]], rest, precision))
            out = np.array([each for each in found if each]).reshape(-1, 2)
            place = f"{len(rest)} {'others of both' if tried is None else 'validation images'}"
            kept, right = (f"{100 * out[:, column].mean():.1f} %" if len(out) else "" for column in (0, 1))
            met = f"{(out[:, 1] >= precision).sum()} of {len(out)}"
            print(f"| {half} | {place} | {precision:g} | {len(out)} of {options.draws} | {kept} | {right} | {met} |")


if __name__ == "__main__":
    main()
