"""Which official lists of labelled and unlabelled images are there, and whether each fits the images."""

import re

from eln_kit.data.items import DataSet
from eln_kit.data.listing import names_in
from eln_kit.data.splits import list_folders, make_split
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.tools.prepare.report import Report

NAME = re.compile(r"(\d+)_(?:un)?labeled_(\d+)\.txt")


def report_lists(dataset: DataSet, data: Data, report: Report) -> None:
    """Tell of every N_labeled_ID.txt and N_unlabeled_ID.txt that `data.split_id` can name; try each pair."""
    names = [name for folder in list_folders(dataset, data) for name in names_in(folder)]
    numbers = {tuple(map(int, match.groups())) for match in map(NAME.fullmatch, names) if match}
    whole: dict[int, list[str]] = {}
    for n, id in sorted(numbers, key=lambda pair: (-pair[0], pair[1])):
        try:
            make_split(dataset, data.model_copy(update={"labels": f"1/{n}", "split_id": id}))
            whole.setdefault(n, []).append(str(id))
        except DataError as error:
            report.note("official lists", str(error))
    shown = ", ".join(f"1/{n}: {' '.join(ids)}" for n, ids in whole.items())
    if shown:
        report.ok("official lists", f"{shown} (data.labels: data.split_id); other splits are drawn by seed")
    else:
        report.note("official lists", "none; splits are drawn by seed")
