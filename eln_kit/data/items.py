"""What a data set is, and how one image and one mask become tensors."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from eln_kit.data.pictures import read_colors, read_numbers, read_values, rgb, upright_size
from eln_kit.faults import DataError

VOID = 255
NO_CLASS = 254  # in a table of mask values that leaves some out
TOLD = 256  # values or colours of one mask that are no class


@dataclass(frozen=True)
class Item:
    """One image; `mask` is None for an image that nobody labelled.

    `depth`: bits that a 16-bit image uses. `bands`: the three of a TIFF that are read, or none. `indexed`: the mask
    holds class indices, whatever the data set's masks hold.
    """

    id: str
    image: Path
    mask: Path | None = None
    depth: int = 16
    bands: tuple[int, ...] = ()
    indexed: bool = False


@dataclass(frozen=True)
class DataSet:
    """Images, masks and what their values mean.

    `colors` is uint8, C x 3. `train` has items with and without masks, `val` only items with masks.
    `mask_values` is a uint8 table from the value in a file to a class index, 255 or `NO_CLASS`: of 256 values, or of
    the 2**24 colours 0xRRGGBB. None: the values are indices already. `void_is_said`: somebody has said what is void.
    `notes` tell what was guessed; `unused` are files that nothing reads. `groups` says which images are of one drive,
    patient or slide; see `groups_of`.
    """

    name: str
    classes: list[str]
    colors: np.ndarray
    train: list[Item]
    val: list[Item]
    mask_values: np.ndarray | None = None
    void_is_said: bool = True
    notes: tuple[str, ...] = ()
    unused: tuple[Path, ...] = ()
    groups: str = ""

    @property
    def in_color(self) -> bool:
        return self.mask_values is not None and len(self.mask_values) > 256


def read_image(item: Item) -> torch.Tensor:
    """The image upright as uint8, 3 x H x W, RGB or `bands`.

    Grey is repeated, `depth` bits are scaled to 8, alpha is ignored.

    Raises:
        DataError: the file is missing, broken, or holds floating-point numbers or such as `depth` bits do not hold.
    """
    return (
        torch.from_numpy(rgb(item.image, *read_numbers(item.image, item.bands), item.depth))
        .permute(2, 0, 1)
        .contiguous()
    )


def read_mask(item: Item, dataset: DataSet) -> torch.Tensor:
    """The mask as uint8, H x W, 0..C-1 or 255 for void; a palette image is read as its indices, or by colour.

    Raises:
        DataError: the file is missing, broken or of another kind, its size is not the image's, or it has a value or
            colour that is no class.
    """
    if item.indexed:
        dataset = replace(dataset, mask_values=None)
    mask, stray = read_labels(item, dataset)
    if stray:
        raise DataError(f"{item.mask}: {no_class(list(stray), dataset)}")
    return torch.from_numpy(mask)


def read_labels(item: Item, dataset: DataSet) -> tuple[np.ndarray, dict[int, int]]:
    """The mask as in `read_mask`, and the pixels of each value or packed colour that is no class, the commonest."""
    assert item.mask is not None
    table = dataset.mask_values
    values = read_colors(item.mask) if dataset.in_color else read_values(item.mask)
    height, width = values.shape
    if (width, height) != (size := upright_size(item.image)):
        turned = " (its EXIF tag turns it, and the mask is not turned)" if (height, width) == size else ""
        raise DataError(
            f"{item.mask}: {width} x {height} pixels, but its image {item.image} has {size[0]} x {size[1]}{turned}; "
            "save the mask at the image's size"
        )
    mask = values if table is None else table[values]
    count = len(dataset.classes)
    if not np.bincount(mask.ravel(), minlength=256)[count:VOID].any():
        return mask, {}
    stray, pixels = np.unique(values[(mask >= count) & (mask != VOID)], return_counts=True)
    commonest = (-pixels).argsort(stable=True)[:TOLD]
    return mask, dict(zip(stray[commonest].tolist(), pixels[commonest].tolist(), strict=True))


def class_pixels(item: Item, dataset: DataSet) -> np.ndarray:
    """The mask's pixels of each class, int `C`; raises what `read_mask` does."""
    return np.bincount(read_mask(item, dataset).numpy().ravel(), minlength=VOID)[: len(dataset.classes)]


def no_class(values: list[int], dataset: DataSet) -> str:
    """What is wrong with values or packed colours, and how to mend it."""
    if dataset.in_color:
        names = ", ".join(f"[{value >> 16}, {value >> 8 & 255}, {value & 255}]" for value in values[:8])
        return f"colour {names} is no class; give it to one in dataset.yaml, or to `void`"
    names, last = ", ".join(map(str, values[:8])), len(dataset.classes) - 1
    if dataset.mask_values is not None:
        return f"value {names} is no class; give it to one in dataset.yaml, or to `void`"
    return (
        f"value {names} is no class; valid are 0 to {last}, and {VOID} for void: correct the mask or the list of "
        "classes, where each may have its `value`"
    )


def groups_of(items: list[Item], dataset: DataSet) -> list[str]:
    """What each image shares with those that are no further evidence: its folder, or what the start of its id matches.

    Its own id where the data set says nothing of groups, or the pattern does not match.
    """
    if dataset.groups == "folder":
        return [item.id.rpartition("/")[0] for item in items]
    matches = [re.match(dataset.groups, item.id) if dataset.groups else None for item in items]
    return [match[0] if match else item.id for item, match in zip(items, matches, strict=True)]


def spread(items: list, count: int) -> list:
    """`count` of the items, evenly spread; all when there are fewer."""
    places = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    return [items[index] for index in places]
