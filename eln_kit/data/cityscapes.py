"""Cityscapes in its official layout, with the 19 classes of its benchmark."""

from pathlib import Path

import numpy as np
from torchvision.datasets import Cityscapes

from eln_kit.data.items import VOID, DataError, DataSet, Item
from eln_kit.params import Data
from eln_kit.paths import resolve

CLASSES = sorted((c for c in Cityscapes.classes if 0 <= c.train_id < VOID), key=lambda c: c.train_id)
IMAGE_END = "_leftImg8bit.png"


def open_cityscapes(data: Data) -> DataSet:
    """`data.root` holds leftImg8bit and gtFine; ids are `aachen/aachen_000000_000019`.

    Masks are the `labelTrainIds`, or the `labelIds` where those are more complete. A training image without a
    mask is unlabelled.

    Raises:
        DataError: names a missing folder, or a validation image without a mask.
    """
    root = resolve(data.root)
    kind = max(("labelTrainIds", "labelIds"), key=lambda k: len(list(root.glob(f"gtFine/*/*/*_gtFine_{k}.png"))))
    train, val = _items(root, "train", kind), _items(root, "val", kind)
    for item in val:
        if item.mask is None:
            raise DataError(f"{item.image}: a validation image needs a mask, gtFine/val/{item.id}_gtFine_{kind}.png")
    mask_values = None if kind == "labelTrainIds" else _train_id_of_label_id()
    colors = np.array([c.color for c in CLASSES], dtype=np.uint8)
    return DataSet("cityscapes", [c.name for c in CLASSES], colors, train, val, mask_values)


def _items(root: Path, split: str, kind: str) -> list[Item]:
    folder = root / "leftImg8bit" / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set data.root to the folder of leftImg8bit and gtFine")
    images = {
        image.relative_to(folder).as_posix().removesuffix(IMAGE_END): image
        for image in sorted(folder.glob(f"[!.]*/[!.]*{IMAGE_END}"))
    }
    masks = {id: root / "gtFine" / split / f"{id}_gtFine_{kind}.png" for id in images}
    return [Item(id, image, masks[id] if masks[id].is_file() else None) for id, image in images.items()]


def _train_id_of_label_id() -> np.ndarray:
    table = np.full(256, VOID, dtype=np.uint8)
    for c in CLASSES:
        table[c.id] = c.train_id
    return table
