"""`eln-kit data`: what of a data set is there, what is missing, and how to get it."""

import os
from pathlib import Path
from typing import Literal

from eln_kit.data.catalog import open_dataset
from eln_kit.params import Data
from eln_kit.tools.prepare.cityscapes import prepare_cityscapes
from eln_kit.tools.prepare.lists import report_lists
from eln_kit.tools.prepare.report import Report
from eln_kit.tools.prepare.voc import prepare_voc

PREPARERS = {"voc": prepare_voc, "cityscapes": prepare_cityscapes}


def prepare(name: Literal["voc", "cityscapes"], root: str | Path, download: bool = False) -> bool:
    """Make the data set ready below `root` as far as the archives there allow, and print what is still missing.

    What is whole is left alone, so that it may be stopped and run again. `download` fetches archives where that
    needs no account. True: the loader opens it, and every count is the published one.
    """
    root = Path(os.path.abspath(Path(root).expanduser()))
    report = Report()
    with report.mending(name, root, " and run this again"):
        if download:
            root.mkdir(parents=True, exist_ok=True)
        elif not root.is_dir():
            report.mend("root", f"{root}: no such folder; make it, or correct --root")
        PREPARERS[name](root, download, report)
        if not report.faults:
            data = Data(name=name, root=str(root))
            report_lists(open_dataset(data), data, report)
    report.close(root)
    return not report.faults
