"""From which trust on a promised share of the kept pixels is right: Learn then Test (Angelopoulos et al., 2021).

The units are images, not pixels: pixels of one image err together; and groups of images, such as the frames of a
drive, where the data set names them. An image's loss is the share of wrong ones among its kept pixels, 0 where
nothing is kept; a group's is the mean of its images'. Thresholds are tried from the strictest down, and the last one
before the first failure is taken, so that a wrong one is taken in at most 1 - `CONFIDENCE` of all draws of labelled
images, whatever the trust is worth (fixed-sequence testing; losses need not fall with the threshold). The test is the
betting bound that Bates et al. (2021, "Distribution-free, risk-controlling prediction sets") use, of Waudby-Smith and
Ramdas (2024); the bet is always 1, which suits small losses and does not depend on the images' order.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from tqdm.auto import tqdm

from eln_kit.audience import person_watches
from eln_kit.data import VOID, groups_of, read_mask
from eln_kit.faults import DataError
from eln_kit.tools.model import Model, levels_of

CONFIDENCE = 0.9
LEVELS = 256  # trust is kept in steps of 1/255, as in files
NEVER = LEVELS  # the level of a class of which nothing can be kept


def histogram(mask: np.ndarray, trust: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """An image's pixels by predicted class, level of trust, and wrong or right: int `C 256 2`; void is left out."""
    known = truth != VOID
    right = mask[known] == truth[known]
    places = (mask[known].astype(np.int64) * LEVELS + levels_of(trust)[known]) * 2 + right
    return np.bincount(places, minlength=classes * LEVELS * 2).reshape(classes, LEVELS, 2)


def held_out(model: Model) -> tuple[np.ndarray, list[str]]:
    """The histograms of the validation images, int `N C 256 2`, and their groups.

    Raises:
        DataError: the run's data set is not at hand, or a file of it is broken.
    """
    if not (items := model.dataset.val):
        raise DataError(
            f"{model.params.data.root or 'data.root'}: --precision needs the validation images and masks of the run's "
            "data set, and they are not there"
        )
    shown = tqdm(items, desc="held-out labels", disable=not person_watches())
    found = model.each(model.read(item.image) for item in shown)
    masks = (read_mask(item, model.dataset).numpy() for item in items)
    classes = len(model.classes)
    counts = [histogram(f.mask, f.trust, truth, classes) for f, truth in zip(found, masks, strict=True)]
    return np.stack(counts), groups_of(items, model.dataset)


def promised(counts: np.ndarray, precision: float, groups: Sequence[str] = ()) -> int:
    """The lowest level for which kept pixels are right in `precision` of an average image, by `CONFIDENCE`.

    Args: counts int `N 256 2`; groups of the N images, each its own where there are none. Returns: 0..255, or `NEVER`.
    """
    wrong, right = np.moveaxis(counts[:, ::-1].cumsum(1), 2, 0)  # strictest first
    losses = wrong / np.maximum(wrong + right, 1)
    if len(groups):
        _, place = np.unique(groups, return_inverse=True)
        losses = np.stack([losses[place == unit].mean(0) for unit in range(place.max() + 1)])
    capital = np.log1p(1 - precision - losses).sum(0)
    level = LEVELS - int(np.cumprod(capital >= -math.log(1 - CONFIDENCE)).sum())
    return level if counts[:, level:].any() else NEVER


def choose(counts: np.ndarray, precision: float, per_class: bool = False, groups: Sequence[str] = ()) -> np.ndarray:
    """The level from which pixels of each predicted class are kept, int `C`: one for all, or one each.

    A class's own level is promised for the images in which it is predicted, by `CONFIDENCE` for each class; a class for
    which it cannot be promised has `NEVER`.

    Args: counts int `N C 256 2`; groups as of `promised`.

    Raises:
        DataError: it cannot be promised, for any class.
    """
    if per_class:
        there = [(own, own.any((1, 2))) for own in np.moveaxis(counts, 1, 0)]
        levels = np.array([promised(own[has], precision, np.array(groups)[has[: len(groups)]]) for own, has in there])
    else:
        levels = np.full(counts.shape[1], promised(counts.sum(1), precision, groups))
    if (levels == NEVER).all():
        raise DataError(f"--precision {precision:g}: {_refusal(counts.sum(1), precision, groups)}")
    return levels


def kept(counts: np.ndarray, levels: Iterable[int]) -> np.ndarray:
    """Wrong and right kept pixels of each image and class at each class's level: int `N C 2`."""
    return np.stack([counts[:, index, level:].sum(1) for index, level in enumerate(levels)], axis=1)


def _refusal(counts: np.ndarray, precision: float, groups: Sequence[str]) -> str:
    units = len(set(groups)) or len(counts)
    needed = math.ceil(-math.log(1 - CONFIDENCE) / math.log1p(1 - precision))
    few = f"even without an error that takes {needed}" if needed > units else "the surest pixels err too often"
    possible = next((p / 100 for p in range(99, 49, -1) if promised(counts, p / 100, groups) < NEVER), None)
    mend = f"{possible:g} can be promised" if possible else "add validation images"
    from_them = f"{units} groups of labelled images" if units < len(counts) else f"{units} labelled images"
    return f"cannot be promised from {from_them} with {CONFIDENCE:.0%} confidence; {few}; {mend}"
