"""`eln-kit data voc | cityscapes`: what of a data set is there, what is missing, and how to get it.

What is whole is left alone. Archives are fetched by torchvision and unpacked by Python; the masks of VOC's larger
training set are those of Hariharan et al. (SBD, ICCV 2011).
"""

import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from scipy.io import loadmat
from torchvision.datasets import SBDataset
from torchvision.datasets.utils import check_integrity, download_url
from torchvision.datasets.voc import DATASET_YEAR_DICT
from tqdm.contrib.concurrent import thread_map

from eln_kit.data.catalog import open_dataset
from eln_kit.data.cityscapes import KINDS, image_ids, mask_ids
from eln_kit.data.classes import bit_colors, in_palette
from eln_kit.data.ids import names_in, read_ids
from eln_kit.data.items import VOID
from eln_kit.data.voc import find_voc
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import write_picture, write_whole
from eln_kit.tools.report import Report


class Archive(NamedTuple):
    """A published archive; `inside` begins the names that are wanted of it, `of` tells where it is to be had."""

    file: str
    inside: tuple[str, ...]
    url: str = ""
    md5: str | None = None
    of: str = ""


VOC2012, SBD_FOLDER = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
VOC_COUNTS = {"train": 1464, "val": 1449, "trainaug": 10582}
CITYSCAPES_COUNTS = {"train": 2975, "val": 500}
_VOC, _SBD = DATASET_YEAR_DICT["2012"], tuple(f"{SBD_FOLDER}/{part}" for part in ("cls/", "train.txt", "val.txt"))
TRAINVAL = Archive(_VOC["filename"], (VOC2012,), _VOC["url"], _VOC["md5"])
SBD = Archive(SBDataset.filename, _SBD, SBDataset.url, SBDataset.md5)
_SITE = " (from the Cityscapes site, which asks for an account)"
IMAGES = Archive("leftImg8bit_trainvaltest.zip", ("leftImg8bit/",), of=_SITE)
MASKS = Archive("gtFine_trainvaltest.zip", ("gtFine/",), of=_SITE)


def prepare(name: Literal["voc", "cityscapes"], root: str | Path, download: bool = False) -> bool:
    """Make the data set ready below `root` as far as the archives there allow, and print what is still missing.

    `download` fetches archives where that needs no account. True: the loader opens it, and every count is the
    published one.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    report = Report()
    with report.mending(name, root, " and run this again"):
        if download:
            root.mkdir(parents=True, exist_ok=True)
        elif not root.is_dir():
            report.tell("fix", "root", f"{root}: no such folder; make it, or correct --root")
        {"voc": _voc, "cityscapes": _cityscapes}[name](root, download, report)
        if not report.faults:
            open_dataset(Data(name=name, root=str(root)))
    report.close(root)
    return not report.faults


def _voc(root: Path, download: bool, report: Report) -> None:
    """VOC's train and val as published, then the field's trainaug: images of SBD and of VOC's train less VOC's val."""
    try:
        voc = find_voc(root)
    except DataError:
        voc = root / VOC2012
    folders = ("JPEGImages", "SegmentationClass")
    advice = _bring(TRAINVAL, root, download, lambda: _absent(voc, "train", folders) or _absent(voc, "val", folders))
    for part in ("train", "val"):
        _count(report, part, len(_ids(voc, part)), VOC_COUNTS, "images with masks", _absent(voc, part, folders), advice)
    if report.faults:
        report.tell("note", "trainaug", f"is made of {SBD.file} once train and val are whole")
    else:
        _trainaug(root, voc, download, report)


def _trainaug(root: Path, voc: Path, download: bool, report: Report) -> None:
    places = [root / SBD_FOLDER, root / "sbd", root / "SBD", root]
    sbd = next((folder for folder in places if (folder / "cls").is_dir()), places[0])
    train, val = {*_ids(voc, "train")}, {*_ids(voc, "val")}
    made = {Path(name).stem for name in names_in(voc / "SegmentationClassAug")}
    listed = _ids(voc, "trainaug") or sorted(made - val)
    if len(listed) != VOC_COUNTS["trainaug"] or not made.issuperset(listed):
        wanted = {*listed} - made - train - val
        if advice := _bring(SBD, root, download, lambda: _absent_of_sbd(sbd, wanted)):
            found = f"{len(made.intersection(listed))} of {VOC_COUNTS['trainaug']}"
            words = "masks in SegmentationClassAug (training uses train.txt without it)"
            return report.tell("fix", "trainaug", f"{found} {words}, {advice}")
        of_sbd = {*read_ids(sbd / "train.txt"), *read_ids(sbd / "val.txt")}
        listed = _ids(voc, "trainaug") or sorted((of_sbd | train) - val)
        _write_masks([id for id in listed if id not in made], voc, train, sbd)
    if not _ids(voc, "trainaug"):
        write_whole(voc / "ImageSets/Segmentation/trainaug.txt", "\n".join(listed) + "\n")
    folders = ("JPEGImages", "SegmentationClassAug")
    advice = _bring(TRAINVAL, root, download, lambda: _absent(voc, "trainaug", folders))
    what = "images with masks in SegmentationClassAug"
    _count(report, "trainaug", len(listed), VOC_COUNTS, what, _absent(voc, "trainaug", folders), advice)


def _write_masks(ids: list[str], voc: Path, train: set[str], sbd: Path) -> None:
    """SegmentationClassAug: a copy of VOC's own mask where it has one, else SBD's, in VOC's colours."""
    folder, colors = voc / "SegmentationClassAug", bit_colors(VOID)
    folder.mkdir(exist_ok=True)

    def write(id: str) -> None:
        if id in train:
            return write_whole(folder / f"{id}.png", (voc / "SegmentationClass" / f"{id}.png").read_bytes())
        source = sbd / "cls" / f"{id}.mat"
        try:
            mask = loadmat(source)["GTcls"]["Segmentation"][0, 0]
        except Exception as error:  # scipy raises whatever it stumbles over in a broken file
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{source}: cannot be read ({reason}); delete it and run this again") from None
        write_picture(folder / f"{id}.png", in_palette(mask, colors))

    thread_map(write, ids, desc=folder.name, unit="file", disable=None)  # the first that fails stops the others


def _cityscapes(root: Path, download: bool, report: Report) -> None:
    if download:
        report.tell("note", "download", f"by hand{_SITE}")
    total = sum(CITYSCAPES_COUNTS.values())

    def absent_image() -> str:
        lacking = (part for part, count in CITYSCAPES_COUNTS.items() if len(image_ids(root, part)) < count)
        return next((f"an image of leftImg8bit/{part}" for part in lacking), "")

    def masks(kind: str) -> int:
        return sum(len(mask_ids(root, part, kind)) for part in CITYSCAPES_COUNTS)

    advice = _bring(IMAGES, root, False, absent_image)
    for part in CITYSCAPES_COUNTS:
        _count(report, part, len(image_ids(root, part)), CITYSCAPES_COUNTS, "images", "", advice)
    advice = _bring(MASKS, root, False, lambda: "a mask of gtFine" if max(map(masks, KINDS)) < total else "")
    kind = max(KINDS, key=masks)
    what = f"{kind}{'; mapped to the 19 classes as they are read' * (kind == 'labelIds')}"
    _count(report, "masks", masks(kind), {"masks": total}, what, "", advice)
    if any((root / name / "test").is_dir() for name in ("leftImg8bit", "gtFine")):
        report.tell("note", "test", "is not read: its masks are empty, the benchmark keeps the truth")


def _count(report: Report, part: str, found: int, counts: dict[str, int], what: str, absent: str, advice: str) -> None:
    """A line: as many as published and none absent, or what to do."""
    told = f"{found} of {counts[part]} {what}"
    if found == counts[part] and not absent:
        report.tell("ok", part, told)
    elif absent or (found < counts[part] and advice):
        report.tell("fix", part, f"{told}, {advice}" if advice else f"{told}, {absent} is missing")
    else:
        report.tell("fix", part, f"{told}: take out what is too much, or replace the lists with the published ones")


def _bring(archive: Archive, root: Path, download: bool, absent: Callable[[], str]) -> str:
    """Unpack the archive, fetched if asked to, where `absent` names a file; what to do where it then still does."""
    if not absent():
        return ""
    file, fetching = root / archive.file, download and bool(archive.url)
    part = file.with_name(f".{file.name}.part")
    try:
        if fetching and not check_integrity(file, archive.md5):
            download_url(archive.url, root, part.name, archive.md5)
            os.replace(part, file)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        return f"{archive.url} could not be fetched ({reason}): get {archive.file} by hand, put it into {root}"
    if not file.is_file():
        offer = ", or add --download," if archive.url and not download else ""
        return f"{absent()} is missing: put {archive.file}{archive.of} into {root}{offer} and run this again"
    try:
        _unpack(file, archive, root)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        return f"{file} cannot be unpacked ({reason}): get the published archive and run this again"
    missing = absent()
    return f"{missing} is missing, and {file} does not hold it: get the published archive" if missing else ""


def _unpack(file: Path, archive: Archive, root: Path) -> None:
    """Its regular files beside, then put in place, so that no half file is left; raises what the unpackers raise."""
    with tempfile.TemporaryDirectory(prefix=".unpacking", dir=root) as place:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as parts:
                parts.extractall(place, [name for name in parts.namelist() if name.startswith(archive.inside)])
        else:
            with tarfile.open(file) as parts:
                wanted = (member for member in parts if member.isreg() and member.name.startswith(archive.inside))
                parts.extractall(place, wanted, filter="data")
        shutil.copytree(place, root, dirs_exist_ok=True, copy_function=os.replace)


def _absent(voc: Path, part: str, folders: tuple[str, ...]) -> str:
    """The first file that a list of VOC's names and that is not there; the list where it is not."""
    ids = _ids(voc, part)
    for folder in folders:
        there, end = {*names_in(voc / folder)}, ".jpg" if folder == "JPEGImages" else ".png"
        if absent := next((id for id in ids if f"{id}{end}" not in there), ""):
            return f"{folder}/{absent}{end}"
    return "" if ids else f"ImageSets/Segmentation/{part}.txt"


def _absent_of_sbd(sbd: Path, ids: set[str]) -> str:
    there = {*names_in(sbd), *names_in(sbd / "cls")}
    needed = ["train.txt", "val.txt", *(f"{id}.mat" for id in sorted(ids))]
    return next((f"SBD's {name}" for name in needed if name not in there), "")


def _ids(voc: Path, part: str) -> list[str]:
    """Of a list of VOC's; [] where it is not there."""
    files = (voc / f"ImageSets/Segmentation/{stem}.txt" for stem in (part.replace("trainaug", "train_aug"), part))
    return next(([Path(id).stem for id in read_ids(file)] for file in files if file.is_file()), [])
