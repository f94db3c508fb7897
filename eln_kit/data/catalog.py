"""A name gives a data set."""

import contextlib
from dataclasses import replace

import numpy as np

from eln_kit.data.cityscapes import CLASSES as CITYSCAPES
from eln_kit.data.cityscapes import open_cityscapes
from eln_kit.data.classes import bit_colors, palette
from eln_kit.data.folder import open_folder
from eln_kit.data.items import DataSet, Item, spread
from eln_kit.data.pictures import DEPTHS, brightest_in
from eln_kit.data.shapes import open_shapes
from eln_kit.data.voc import open_voc
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve

OPENERS = {"shapes": open_shapes, "folder": open_folder, "voc": open_voc, "cityscapes": open_cityscapes}
SAMPLE = 32  # images that tell how many bits all of them use


def describe_classes(name: str, classes: list[str]) -> DataSet:
    """A data set without images, for its classes and colours alone; those of `folder` have a palette's."""
    known = {"voc": bit_colors(len(classes)), "cityscapes": np.array([c.color for c in CITYSCAPES], dtype=np.uint8)}
    return DataSet(name, classes, known.get(name, palette(len(classes))), [], [])


def open_dataset(data: Data) -> DataSet:
    """The data set that `data.name` and `data.root` name, with labels and with images to validate on.

    Raises:
        DataError: names the folder or file that is missing or wrong, and the knob or file to mend.
    """
    root = resolve(data.root)
    if data.name != "shapes" and not (data.root and root.is_dir()):
        raise DataError(
            f"{root if data.root else 'data.root'}: no such folder; set data.root to the folder of the data"
        )
    if data.name != "folder" and data.classes:
        raise DataError(f"{data.classes}: data.classes is for data.name=folder; {data.name} has its own classes")
    dataset = OPENERS[data.name](data)
    for split, items in (("training", dataset.train), ("validation", dataset.val)):
        if not items:
            raise DataError(f"{root}: no {split} images; is data.root the right folder for data.name={data.name}?")
    if not any(item.mask for item in dataset.train):
        unused = f" ({dataset.unused[0]} is not used)" if dataset.unused else ""
        raise DataError(f"{root}: no training image has a mask; label some of them{unused}")
    if both := {item.image for item in dataset.train} & {item.image for item in dataset.val}:
        raise DataError(f"{min(both)}: is for training and for validation; take it out of one list")
    depth = depth_of(dataset.train + dataset.val, data)
    return replace(dataset, train=as_read(dataset.train, data, depth), val=as_read(dataset.val, data, depth))


def as_read(items: list[Item], data: Data, depth: int | None = None) -> list[Item]:
    """The items with the depth and the bands that their images are read with; without `depth` their own."""
    depth, bands = depth or depth_of(items, data), tuple(data.bands or ())
    return [replace(item, depth=depth, bands=bands) for item in items]


def depth_of(items: list[Item], data: Data) -> int:
    """Bits that 16-bit images use: `data.depth`, or the fewest that hold the largest number in some of them."""
    if data.depth != "auto":
        return data.depth
    largest = 0
    for item in spread(items, SAMPLE):
        with contextlib.suppress(DataError):  # told when every file is read
            largest = max(largest, brightest_in(item.image, tuple(data.bands or ())))
    return next((bits for bits in DEPTHS if 0 < largest < 2**bits), DEPTHS[-1])
