"""Every file of a data set, read once before training: what is there, what is wrong, and how common classes are."""

import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from eln_kit.audience import person_watches
from eln_kit.data.extra import check_extra, extra_items
from eln_kit.data.items import VOID, DataSet, Item, no_class, read_labels
from eln_kit.data.pictures import brightest, is_turned, read_numbers, rgb
from eln_kit.data.splits import Split, check_held_out, check_unlabeled
from eln_kit.faults import DataError
from eln_kit.params import Params

NAMED = 8  # values or colours that are no class


@dataclass
class Look:
    """What one item holds.

    `size` width and height, `checksum` of its pixels, `largest` in 16 bits, `pixels` of each value 0..255 of the mask.
    """

    size: tuple[int, int] = (0, 0)
    kind: str = ""
    largest: int = 0
    is_grey: bool = False
    is_turned: bool = False
    checksum: int = 0
    pixels: np.ndarray | None = None
    stray: dict[int, int] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Survey:
    """`void` are items whose mask is void everywhere; `looks` are of training, then of validation items."""

    dataset: DataSet
    looks: list[Look]
    void: set[Item]

    @property
    def masks(self) -> np.ndarray:
        """Pixels of each value 0..255, M x 256, of the M items that have a mask."""
        return np.array([look.pixels for look in self.looks if look.pixels is not None])

    def class_pixels(self, items: list[Item]) -> np.ndarray | None:
        """Pixels of each class over those of the items that have masks, int `C`; None when none has."""
        of = dict(zip([*self.dataset.train, *self.dataset.val], self.looks, strict=True))
        pixels = [seen for item in items if (seen := of[item].pixels) is not None]
        return np.sum(pixels, axis=0)[: len(self.dataset.classes)] if pixels else None


def survey(dataset: DataSet) -> Survey:
    """Read every file.

    Raises:
        DataError: a line for each file that cannot be used, and for each value or colour that is no class.
    """
    items = [*dataset.train, *dataset.val]
    with ThreadPoolExecutor() as pool:
        looks = pool.map(lambda item: _look(item, dataset), items)
        looked = list(tqdm(looks, "reading", len(items), unit="image", disable=not person_watches()))
    faults = [look.fault for look in looked if look.fault] + list(_no_classes(items, looked, dataset))
    if not faults:
        found = Survey(dataset, looked, {i for i, look in zip(items, looked, strict=True) if _is_void(look)})
        faults = list(_vanished(found))
    if faults:
        raise DataError("\n".join(faults))
    return found


def check_trainable(params: Params, split: Split, found: Survey) -> None:
    """Refuse data that some stage cannot learn from or be measured on (DataError, ParamsError)."""
    check_held_out(params, split, found.dataset)
    refuse_void(split.labeled, found.void)
    refuse_void(found.dataset.val, found.void, "validation")
    check_unlabeled(params, split)
    check_extra(extra_items(split, params.data), found.dataset)


def refuse_void(items: list[Item], void: set[Item], what: str = "labelled") -> None:
    """Raises DataError when the items, of which there are some, have no labelled pixel at all."""
    if void.issuperset(items):
        raise DataError(f"{items[0].mask}: all pixels of this and all other {what} images are void; correct the masks")


def _look(item: Item, dataset: DataSet) -> Look:
    look = Look()
    try:
        numbers, deep = read_numbers(item.image, item.bands)
        pixels = rgb(item.image, numbers, deep, item.depth)
        look.checksum = zlib.crc32(pixels.tobytes())
        look.is_grey = bool((pixels == pixels[..., :1]).all())
        look.size, look.largest = (pixels.shape[1], pixels.shape[0]), brightest(numbers, deep)
        look.kind = f"{16 if deep else 8}-bit {'grey' if numbers.ndim == 2 else 'color'}"
        if item.mask is not None:  # it is held against its image
            mask, look.stray = read_labels(item, dataset)
            look.is_turned = not item.bands and is_turned(item.image)
            look.pixels = np.bincount(mask.ravel(), minlength=VOID + 1)
    except DataError as error:
        look.fault = str(error)
    return look


def _is_void(look: Look) -> bool:
    return look.pixels is not None and not look.pixels[:VOID].any()


def _no_classes(items: list[Item], looks: list[Look], dataset: DataSet) -> Iterator[str]:
    """A line for each value or colour that is no class, the commonest first."""
    pixels: Counter[int] = Counter()
    masks: Counter[int] = Counter()
    first: dict[int, Item] = {}
    for item, look in zip(items, looks, strict=True):
        pixels.update(look.stray)
        masks.update(look.stray.keys())
        first = dict.fromkeys(look.stray, item) | first
    for value, count in pixels.most_common(NAMED):
        where = f"{count} pixels in {masks[value]} mask{'s' if masks[value] > 1 else ''}"
        yield f"{first[value].mask}: {no_class([value], dataset)} ({where})"
    if len(pixels) > NAMED:
        yield f"and {len(pixels) - NAMED} more {'colours' if dataset.in_color else 'values'} that are no class"


def _vanished(found: Survey) -> Iterator[str]:
    """A class that was taken for void: nothing but one class is left, or in some masks 255 stands where 1 should."""
    dataset, has = found.dataset, found.masks > 0
    masks = [item.mask for item in (*dataset.train, *dataset.val) if item.mask]
    classes = np.flatnonzero(has[:, :VOID].any(0))
    if len(classes) == 1:
        mend = "correct them, or give each class its `value` in dataset.yaml, such as"
        yield (
            f"{masks[0]}: this and all other masks hold no class but {dataset.classes[classes[0]]}"
            f"{', and void' if has[:, VOID].any() else ''}; {mend} {_example(0, VOID)}"
        )
    one, white = has[:, 0] & has[:, 1], has[:, 0] & has[:, VOID]
    is_meant = dataset.void_is_said or len(dataset.classes) > 2 or (has[:, 1] & has[:, VOID]).any()
    if one.any() and white.any() and not is_meant:
        first, second = dataset.classes
        yield (
            f"{masks[white.argmax()]}: holds {first} and 255, but {masks[one.argmax()]} {first} and {second}; "
            f"if 255 is {second}, write {_example(0, [1, VOID])} in dataset.yaml, and `void: [255]` if it is void"
        )


def _example(*values: int | list[int]) -> str:
    entries = (f"{{name: .., value{'s' * isinstance(value, list)}: {value}}}" for value in values)
    return f"`classes: [{', '.join(entries)}]`"
