"""Pascal VOC 2012 in its official layout, and SegmentationClassAug made from SBD."""

from pathlib import Path

from torchvision.datasets import SBDataset
from torchvision.datasets.voc import DATASET_YEAR_DICT

from eln_kit.data.ids import read_ids
from eln_kit.data.listing import names_in
from eln_kit.data.voc import find_voc
from eln_kit.faults import DataError
from eln_kit.tools.prepare.archives import Archive, Source
from eln_kit.tools.prepare.files import beside
from eln_kit.tools.prepare.report import Report
from eln_kit.tools.prepare.sbd import sbd_ids, write_masks

COUNTS = {"train": 1464, "val": 1449, "trainaug": 10582}
SUFFIXES = {"JPEGImages": ".jpg", "SegmentationClass": ".png", "SegmentationClassAug": ".png"}
LISTS = Path("ImageSets", "Segmentation")
_PUBLISHED = DATASET_YEAR_DICT["2012"]
TRAINVAL = Archive(_PUBLISHED["filename"], _PUBLISHED["base_dir"], _PUBLISHED["url"], _PUBLISHED["md5"])
SBD = Archive(SBDataset.filename, "benchmark_RELEASE/dataset", SBDataset.url, SBDataset.md5)


def prepare_voc(root: Path, download: bool, report: Report) -> None:
    """VOC's train and val as unpacked, then the field's trainaug: images of SBD and of VOC's train less VOC's val."""
    voc, sbd_folder = _voc_folder(root), _sbd_folder(root)
    trainval = Source(TRAINVAL, root, voc, report, download)
    sbd = Source(SBD, root, sbd_folder, report, download, lambda name: name[:4] == "cls/" or name.endswith(".txt"))
    if not (_ids(voc, "train") and _ids(voc, "val")):
        trainval.bring()
    train, val = _ids(voc, "train"), _ids(voc, "val")
    if train and val:
        for name, ids in (("train", train), ("val", val)):
            if _is_whole(name, ids, ("JPEGImages", "SegmentationClass"), trainval, report):
                report.ok(name, f"{len(ids)} of {COUNTS[name]} images with masks")
    else:
        report.mend("VOC 2012", f"no train.txt and val.txt in {voc / LISTS}: {trainval.mend}")
    _prepare_trainaug(train, val, trainval, sbd, report)


def _prepare_trainaug(train: list[str], val: list[str], trainval: Source, sbd: Source, report: Report) -> None:
    voc = trainval.folder
    ids = _trainaug_ids(voc, train, val, sbd)
    absent = [Path(file).stem for file in _absent(voc, ids, "SegmentationClassAug")]
    found = f"{len(ids) - len(absent)} of {COUNTS['trainaug']} masks in SegmentationClassAug"
    if not ids:
        report.mend("trainaug", f"{found} (training uses train.txt without it): {sbd.mend}")
    elif missing := _absent_of_sbd(set(absent) - set(train), sbd):
        report.mend("trainaug", f"{found}, SBD's {missing[0]} is missing: {sbd.mend}")
    elif report.faults:
        report.note("trainaug", f"{found}; the others are made once train and val are whole")
    elif _is_whole("trainaug", ids, ("JPEGImages",), trainval, report):
        if not _list(voc, "trainaug"):  # before the masks: with it, the loader notices that some are missing yet
            with beside(voc / LISTS / "trainaug.txt") as path:
                path.write_text("\n".join(ids) + "\n")
        own = {id: voc / "SegmentationClass" / f"{id}.png" for id in train}
        write_masks(absent, voc / "SegmentationClassAug", own, sbd.folder)
        report.ok("trainaug", f"{len(ids)} of {COUNTS['trainaug']} images with masks in SegmentationClassAug")


def _trainaug_ids(voc: Path, train: list[str], val: list[str], sbd: Source) -> list[str]:
    """From the list, else from a SegmentationClassAug of the right size, else from SBD's lists."""
    if listed := _ids(voc, "trainaug"):
        return listed
    masks = sorted({Path(name).stem for name in names_in(voc / "SegmentationClassAug")} - set(val))
    if len(masks) == COUNTS["trainaug"]:
        return masks
    lists = [sbd.folder / "train.txt", sbd.folder / "val.txt"]
    if not all(file.is_file() for file in lists):
        sbd.bring()
    return sorted((sbd_ids(sbd.folder) | set(train)) - set(val)) if all(file.is_file() for file in lists) else []


def _is_whole(name: str, ids: list[str], folders: tuple[str, ...], source: Source, report: Report) -> bool:
    """Whether `ids` are as many as published and have their files; looks into the archive for those missing."""
    voc = source.folder
    if _absent(voc, ids, *folders):
        source.bring()
    absent = _absent(voc, ids, *folders)
    found = f"{len(ids) - len({Path(file).stem for file in absent})} of {COUNTS[name]} images"
    if absent:
        report.mend(name, f"{found}, {absent[0]} is missing: {source.mend}")
    elif len(ids) != COUNTS[name]:
        file = _list(voc, name) or "the lists of VOC and SBD"
        report.mend(name, f"{found} in {file}: replace it with the published one, or remove it, and run this again")
    return not absent and len(ids) == COUNTS[name]


def _absent(voc: Path, ids: list[str], *folders: str) -> list[str]:
    there = {folder: set(names_in(voc / folder)) for folder in folders}
    return [
        f"{folder}/{id}{SUFFIXES[folder]}"
        for folder in folders
        for id in ids
        if f"{id}{SUFFIXES[folder]}" not in there[folder]
    ]


def _absent_of_sbd(ids: set[str], sbd: Source) -> list[str]:
    """The files that SBD's masks of `ids` are made from and that are missing, after a look into the archive."""
    if not ids:
        return []
    needed = ["train.txt", *(f"{id}.mat" for id in sorted(ids))]

    def absent() -> list[str]:
        there = {*names_in(sbd.folder), *names_in(sbd.folder / "cls")}
        return [name for name in needed if name not in there]

    if absent():
        sbd.bring()
    return absent()


def _list(voc: Path, name: str) -> Path | None:
    files = (voc / LISTS / f"{stem}.txt" for stem in (name.replace("trainaug", "train_aug"), name))
    return next((file for file in files if file.is_file()), None)


def _ids(voc: Path, name: str) -> list[str]:
    file = _list(voc, name)
    return [Path(id).stem for id in read_ids(file)] if file else []


def _voc_folder(root: Path) -> Path:
    try:
        return find_voc(root)
    except DataError:
        return root / _PUBLISHED["base_dir"]


def _sbd_folder(root: Path) -> Path:
    places = [root / SBD.inside, root / "sbd", root / "SBD", root]
    return next((folder for folder in places if (folder / "cls").is_dir()), places[0])
