"""The archives of VOC, SBD and Cityscapes as their authors publish them, small; and what `eln-kit data` says."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_matrix
from trees import SIZE, cityscapes_tree, voc_tree, write_image

TRAIN, VAL, EXTRA = ["2007_000032", "2007_000039"], ["2007_000033", "2007_000042"], ["2008_000002", "2011_000003"]
TRAINAUG = sorted(TRAIN + EXTRA)
FRAMES = {"train": ["aachen_000000_000019", "bochum_000000_000313"], "val": ["lindau_000000_000019"]}
VOC_COUNTS, CITYSCAPES_COUNTS = {"train": 2, "val": 2, "trainaug": 4}, {"train": 2, "val": 1}
TAR, TGZ = "VOCtrainval_11-May-2012.tar", "benchmark.tgz"
IMAGES, MASKS = "leftImg8bit_trainvaltest.zip", "gtFine_trainvaltest.zip"


def write_archives(folder: Path, made: Path) -> Path:
    """All four into `folder`; their contents are made in `made`."""
    voc = voc_tree(made / "voc", TRAIN, VAL)
    for id in EXTRA:
        write_image(voc / "JPEGImages" / f"{id}.jpg")
    sbd_tree(made / "sbd/benchmark_RELEASE/dataset")
    cityscapes_tree(made / "city", FRAMES)
    for name, mode, source, top in ((TAR, "w", "voc", "VOCdevkit"), (TGZ, "w:gz", "sbd", "benchmark_RELEASE")):
        with tarfile.open(folder / name, mode) as archive:
            archive.add(made / source / top, top)
    for name, top in ((IMAGES, "leftImg8bit"), (MASKS, "gtFine")):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("README", "the same in both")
            for file in sorted((made / "city" / top).rglob("*")):
                archive.write(file, file.relative_to(made / "city"))
    return folder


def sbd_tree(folder: Path) -> None:
    """SBD's train has an image of VOC's train and one of its val, as the real one has."""
    (folder / "cls").mkdir(parents=True)
    for name, listed in (("train", [TRAIN[0], VAL[0], EXTRA[0]]), ("val", [VAL[1], EXTRA[1]])):
        (folder / f"{name}.txt").write_text("\n".join(listed) + "\n")
        for id in listed:
            write_mat(folder / "cls" / f"{id}.mat")
            write_image(folder / "img" / f"{id}.jpg")


def write_mat(file: Path) -> None:
    """SBD's structure: GTcls with Boundaries (a sparse matrix a class), Segmentation and CategoriesPresent."""
    boundaries = np.empty((20, 1), dtype=object)
    for index in range(20):
        boundaries[index, 0] = csc_matrix(SIZE, dtype=bool)
    segmentation = np.zeros(SIZE, dtype=np.uint8)
    segmentation[:, 1:3] = 20
    savemat(file, {"GTcls": {"Boundaries": boundaries, "Segmentation": segmentation, "CategoriesPresent": [20]}})


def put(root: Path, published: Path, *names: str) -> Path:
    root.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(published / name, root)
    return root


def told(capsys) -> list[str]:
    """What was printed: a line a thing, then one that closes."""
    *lines, last = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok    ", "note  ", "fix   ")) for line in lines)
    assert last.startswith("not ready: " if any(line.startswith("fix") for line in lines) else "ready: ")
    return [*lines, last]


def mends(capsys, *wanted: str) -> None:
    """As many lines that ask for something as `wanted`, each with its words in it."""
    lines = [line for line in told(capsys) if line.startswith("fix")]
    assert len(lines) == len(wanted), lines
    for line, words in zip(lines, wanted, strict=True):
        assert words in line, line


def files(root: Path) -> dict[str, int]:
    """When each file below `root` was written."""
    return {str(file.relative_to(root)): file.stat().st_mtime_ns for file in root.rglob("*") if file.is_file()}
