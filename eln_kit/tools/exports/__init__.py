"""`eln-kit data coco | labelme | labelmap`: what labelling tools export, brought into the `folder` layout:
images/{train,val}, masks/{train,val} and dataset.yaml.
"""

import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from tqdm.contrib.concurrent import thread_map

from eln_kit.data.catalog import open_dataset
from eln_kit.data.classes import in_palette
from eln_kit.data.folder import read_folder
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import write_picture, write_whole
from eln_kit.tools.exports.coco import read_coco
from eln_kit.tools.exports.export import Export, Picture
from eln_kit.tools.exports.labelmap import read_labelmap
from eln_kit.tools.exports.labelme import read_labelme
from eln_kit.tools.report import Report

READERS = {"coco": read_coco, "labelme": read_labelme, "labelmap": read_labelmap}


def bring(name: str, root: str | Path, out: str | Path, val: float, seed: int, base: str | None = None) -> bool:
    """Write the export below `root` into the new folder `out`, and print what was found and what was left out.

    The data set in the folder `base` comes along: its classes first, its images, and masks where none are new.
    Where there is no validation part, the share `val` of its labelled images is drawn with `seed`. True: done.
    """
    root, out = (Path(os.path.abspath(Path(place).expanduser())) for place in (root, out))
    report = Report()
    with report.mending(name, out, f", delete {out} and try again"):
        if not root.exists():
            raise DataError(f"{root}: no such folder; correct --root")
        if out.exists() and any(out.iterdir()):
            raise DataError(f"{out}: already exists; choose another --out, or delete it")
        dataset = read_folder(Path(base).expanduser().absolute()) if base else None
        export = Export(root if root.is_dir() else root.parent, dataset)
        try:
            READERS[name](root, export)
            if dataset:
                export.add_base(dataset)
            _write_tree(export, out, val, seed, report)
        finally:
            export.tell(report)  # before the fault, whose reasons they are
    report.close(out)
    return not report.faults


def _write_tree(export: Export, out: Path, val: float, seed: int, report: Report) -> None:
    """Write the tree, open it as training will, and tell its numbers and all that was odd.

    Raises:
        DataError: too few images are labelled, or the tree cannot be opened.
    """
    pictures = _with_validation(export, val, seed, report)
    pictures.sort(key=lambda picture: not picture.id)
    ids = _ids(pictures, export.root)
    thread_map(partial(_write, export, out), pictures, ids, desc="writing", unit="file", disable=None)
    entries = [{"name": n, "color": c.tolist()} for n, c in zip(export.classes, export.palette(), strict=True)]
    groups = {"groups": export.base.groups} if export.base and export.base.groups else {}
    text = yaml.safe_dump({"classes": entries} | groups, sort_keys=False, allow_unicode=True, default_flow_style=None)
    write_whole(out / "dataset.yaml", text)
    export.tell(report)
    dataset = open_dataset(Data(name="folder", root=str(out)))
    labelled = sum(item.mask is not None for item in dataset.train)
    report.tell("ok", "classes", f"{len(dataset.classes)}: {', '.join(dataset.classes)}")
    report.tell("ok", "train", f"{labelled} labelled and {len(dataset.train) - labelled} unlabelled images")
    report.tell("ok", "val", f"{len(dataset.val)} images")


def _ids(pictures: list[Picture], root: Path) -> list[str]:
    """The images' names without suffix, with the folders before them where several have one name; or their own ids."""
    stems, ids = Counter(picture.image.stem for picture in pictures if not picture.id), dict[str, None]()
    for picture in pictures:
        image, parts = picture.image, Path(os.path.relpath(picture.image, root)).with_suffix("").parts
        id = picture.id or (image.stem if stems[image.stem] == 1 else "_".join(part for part in parts if part != ".."))
        while id in ids:  # x/1.png is x_1, and x_1.png is there, too
            id += "_"
        ids[id] = None
    return list(ids)


def _with_validation(export: Export, val: float, seed: int, report: Report) -> list[Picture]:
    """The pictures but those of a test part; unlabelled ones train, and some of the labelled ones validate."""
    kept = []
    for picture in export.pictures.values():
        if picture.part == "test":
            export.note("test", "images of a test part are left out", picture.image)
        else:
            kept.append(replace(picture, part=picture.part if picture.draw else "train"))
    labelled = [place for place, picture in enumerate(kept) if picture.draw]
    if len(labelled) < 2:
        raise DataError(f"{export.root}: {len(labelled)} images that are there have labels; two are the least")
    if not any(picture.part == "val" for picture in kept):
        count = min(max(1, round(val * len(labelled))), len(labelled) - 1)
        for place in np.random.default_rng(seed).permutation(labelled)[:count]:
            kept[place] = replace(kept[place], part="val")
        report.tell("note", "val", f"drawn from the labelled images with seed {seed}")
    return kept


def _write(export: Export, out: Path, picture: Picture, id: str) -> None:
    try:
        mask = picture.draw() if picture.draw else None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{picture.image}: its labels cannot be drawn ({type(error).__name__}: {error})") from None
    write_whole(out / "images" / picture.part / f"{id}{picture.image.suffix.lower()}", picture.image.read_bytes())
    if mask is not None:
        write_picture(out / "masks" / picture.part / f"{id}.png", in_palette(mask, export.palette()))
