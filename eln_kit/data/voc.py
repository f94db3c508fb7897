"""Pascal VOC 2012 in its official layout, with the larger training set of Hariharan et al. if there."""

from pathlib import Path

from eln_kit.data.classes import bit_colors
from eln_kit.data.ids import names_in, read_ids
from eln_kit.data.items import DataSet, Item
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve

HELP = " (`eln-kit data voc --root DIR` says what to do)"
CLASSES = [
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor",
]  # fmt: skip


def open_voc(data: Data) -> DataSet:
    """`data.root` is the folder of VOCdevkit, VOCdevkit itself or VOC2012.

    With a folder SegmentationClassAug, the training images are those of train_aug.txt or trainaug.txt, else
    all that have a mask there and are not in val.txt. Without it they are those of train.txt.

    Raises:
        DataError: names the missing folder or list, or the list and the id whose image or mask is missing.
    """
    voc = find_voc(resolve(data.root))
    lists = voc / "ImageSets" / "Segmentation"
    val = _items(voc, lists / "val.txt", "SegmentationClass")
    if not (voc / "SegmentationClassAug").is_dir():
        train = _items(voc, lists / "train.txt", "SegmentationClass")
    elif augmented := [f for f in (lists / "train_aug.txt", lists / "trainaug.txt") if f.is_file()]:
        train = _items(voc, augmented[0], "SegmentationClassAug")
    else:
        folder = voc / "SegmentationClassAug"
        ids = {name[:-4] for name in names_in(folder) if name.endswith(".png")} - {item.id for item in val}
        train = _pair(voc, sorted(ids), "SegmentationClassAug", folder)
    return DataSet("voc", CLASSES, bit_colors(len(CLASSES)), train, val)


def find_voc(root: Path) -> Path:
    for folder in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if (folder / "JPEGImages").is_dir():
            return folder
    raise DataError(f"{root}: no VOCdevkit/VOC2012/JPEGImages below it; set data.root to the folder of VOCdevkit{HELP}")


def _items(voc: Path, file: Path, mask_folder: str) -> list[Item]:
    return _pair(voc, [Path(id).stem for id in read_ids(file)], mask_folder, file)


def _pair(voc: Path, ids: list[str], mask_folder: str, source: Path) -> list[Item]:
    images, masks = set(names_in(voc / "JPEGImages")), set(names_in(voc / mask_folder))
    for id in ids:
        if f"{id}.jpg" not in images:
            raise DataError(f"{source}: {id} has no image JPEGImages/{id}.jpg; add it or correct the list{HELP}")
        if f"{id}.png" not in masks:
            raise DataError(f"{source}: {id} has no mask {mask_folder}/{id}.png; add it or correct the list{HELP}")
    return [Item(id, voc / "JPEGImages" / f"{id}.jpg", voc / mask_folder / f"{id}.png") for id in ids]
