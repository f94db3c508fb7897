"""Cityscapes in its official layout, with the 19 classes of its benchmark."""

from pathlib import Path

import numpy as np
from torchvision.datasets import Cityscapes

from eln_kit.data.ids import names_in
from eln_kit.data.items import VOID, DataSet, Item
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve

CLASSES = sorted((c for c in Cityscapes.classes if 0 <= c.train_id < VOID), key=lambda c: c.train_id)
IMAGE_END = "_leftImg8bit.png"
KINDS = ("labelTrainIds", "labelIds")
HELP = " (`eln-kit data cityscapes --root DIR` says what to do)"


def open_cityscapes(data: Data) -> DataSet:
    """`data.root` holds leftImg8bit and gtFine; ids are `aachen/aachen_000000_000019`.

    Masks are the `labelTrainIds`, or the `labelIds` where those are more complete. A training image without a
    mask is unlabelled.

    Raises:
        DataError: names a missing folder, or a validation image without a mask.
    """
    root = resolve(data.root)
    masks = {kind: {split: mask_ids(root, split, kind) for split in ("train", "val")} for kind in KINDS}
    kind = max(KINDS, key=lambda k: sum(map(len, masks[k].values())))
    train, val = (_items(root, split, kind, set(ids)) for split, ids in masks[kind].items())
    for item in val:
        if item.mask is None:
            file = f"gtFine/val/{item.id}_gtFine_{kind}.png"
            raise DataError(f"{item.image}: a validation image needs a mask, {file}{HELP}")
    mask_values = None if kind == "labelTrainIds" else _train_id_of_label_id()
    colors = np.array([c.color for c in CLASSES], dtype=np.uint8)
    return DataSet("cityscapes", [c.name for c in CLASSES], colors, train, val, mask_values)


def image_ids(root: Path, split: str) -> list[str]:
    return _ids(root / "leftImg8bit" / split, IMAGE_END)


def mask_ids(root: Path, split: str, kind: str) -> list[str]:
    return _ids(root / "gtFine" / split, f"_gtFine_{kind}.png")


def _ids(folder: Path, end: str) -> list[str]:
    """`city/frame` of every file `folder/city/frame` + `end`."""
    files = ((city, name) for city in names_in(folder) for name in names_in(folder / city))
    return [f"{city}/{name.removesuffix(end)}" for city, name in files if name.endswith(end)]


def _items(root: Path, split: str, kind: str, with_mask: set[str]) -> list[Item]:
    images, masks = root / "leftImg8bit" / split, root / "gtFine" / split
    if not images.is_dir():
        raise DataError(f"{images}: no such folder; set data.root to the folder of leftImg8bit and gtFine{HELP}")
    return [
        Item(id, images / f"{id}{IMAGE_END}", masks / f"{id}_gtFine_{kind}.png" if id in with_mask else None)
        for id in image_ids(root, split)
    ]


def _train_id_of_label_id() -> np.ndarray:
    table = np.full(256, VOID, dtype=np.uint8)
    for c in CLASSES:
        table[c.id] = c.train_id
    return table
