"""`eln-kit data coco | labelme | labelmap`: what labelling tools export, brought into the `folder` layout."""

import os
from pathlib import Path

from eln_kit.data.folder import read_folder
from eln_kit.faults import DataError
from eln_kit.tools.exports.coco import read_coco
from eln_kit.tools.exports.export import Export
from eln_kit.tools.exports.labelmap import read_labelmap
from eln_kit.tools.exports.labelme import read_labelme
from eln_kit.tools.exports.tree import write_tree
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
        if not 0 < val < 1:
            raise DataError(f"--val = {val:g}: should be a share above 0 and below 1, such as 0.2")
        dataset = read_folder(Path(base).expanduser().absolute()) if base else None
        export = Export(root if root.is_dir() else root.parent, dataset)
        try:
            READERS[name](root, export)
            if dataset:
                export.add_base(dataset)
            write_tree(export, out, val, seed, report)
        finally:
            export.tell(report)  # before the fault, whose reasons they are
    report.close(out)
    return not report.faults
