"""Small data sets on disk, in the layouts that the project reads."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eln_kit.data import open_dataset
from eln_kit.data.classes import palette
from eln_kit.data.items import DataSet, Item
from eln_kit.faults import DataError
from eln_kit.params import Data

SIZE = (12, 16)  # height, width


def write_image(path: Path, size: tuple[int, int] = SIZE, value: int | None = None) -> Path:
    """An RGB image of random pixels, or of one grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(f"{path.parent.name}/{path.name}".encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    if value is not None:
        pixels[:] = value
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, classes=(0, 1), size: tuple[int, int] = SIZE, mode: str = "L") -> Path:
    """A mask in which each of `classes` has a column and the first has the rest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size, classes[0], dtype=np.uint8)
    pixels[:, : len(classes)] = classes
    mask = Image.fromarray(pixels)
    if mode == "P":
        mask.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    mask.save(path)
    return path


def folder_tree(root: Path, train: int = 4, val: int = 2, unlabeled: int = 0) -> Path:
    """A `folder` tree: 00 .. with masks, then images without; classes 0 and 1."""
    for split, images, masks in (("train", train + unlabeled, train), ("val", val, val)):
        for index in range(images):
            write_image(root / "images" / split / f"{index:02}.png")
        for index in range(masks):
            write_mask(root / "masks" / split / f"{index:02}.png")
    return root


def voc_tree(root: Path, train: list[str], val: list[str], augmented: list[str] | None = None) -> Path:
    """VOC's official layout; returns VOC2012. `augmented`: ids in SegmentationClassAug."""
    voc = root / "VOCdevkit" / "VOC2012"
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name, ids in (("train", train), ("val", val), ("trainval", train + val)):
        (lists / f"{name}.txt").write_text("\n".join(ids) + "\n")
    for id in {*train, *val, *(augmented or [])}:
        write_image(voc / "JPEGImages" / f"{id}.jpg")
    for id in train + val:
        write_mask(voc / "SegmentationClass" / f"{id}.png", (0, 15, 255), mode="P")
    for id in augmented or []:
        write_mask(voc / "SegmentationClassAug" / f"{id}.png", (0, 15, 255))
    return voc


def cityscapes_tree(root: Path, frames: dict[str, list[str]], kind: str = "labelIds") -> Path:
    """Cityscapes' official layout of `{"train": ["aachen_000000_000019", ...], "val": [...]}`.

    Masks have road, car and void: label ids 7, 26, 0, or train ids 0, 13, 255.
    """
    values = (7, 26, 0) if kind == "labelIds" else (0, 13, 255)
    for split, names in frames.items():
        for name in names:
            place = Path(split) / name.split("_")[0]
            write_image(root / "leftImg8bit" / place / f"{name}_leftImg8bit.png")
            write_mask(root / "gtFine" / place / f"{name}_gtFine_{kind}.png", values)
            write_mask(root / "gtFine" / place / f"{name}_gtFine_instanceIds.png")
    return root


def masked_dataset(root: Path, masks: list[tuple[int, ...]], unlabeled: int = 0, classes: int = 6) -> DataSet:
    """A data set in memory whose training image `n` has the classes `masks[n]`; one validates."""
    items = [
        Item(f"{n:03}", write_image(root / f"{n:03}.png"), write_mask(root / f"{n:03}_mask.png", present))
        for n, present in enumerate(masks)
    ]
    items += [Item(f"u{n:02}", write_image(root / f"u{n:02}.png")) for n in range(unlabeled)]
    names = [f"class {index}" for index in range(classes)]
    return DataSet("folder", names, palette(classes), items, items[:1])


def folder(root, **knobs):
    return open_dataset(Data(name="folder", root=str(root), **knobs))


def voc(root):
    return open_dataset(Data(name="voc", root=str(root)))


def cityscapes(root):
    return open_dataset(Data(name="cityscapes", root=str(root)))


def fails(message):
    """The block raises a DataError of one line that has `message` in it."""
    return pytest.raises(DataError, match=rf"\A[^\n]*{message}[^\n]*\Z")


def ids(items):
    return [item.id for item in items]
