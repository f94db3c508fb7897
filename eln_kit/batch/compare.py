"""Finished runs as tables for notebook 5, which draws them: a row a run, and a row a network.

Runs that differ in the seed alone belong to one method: `runs/filters/confidence/0` and `.../1` to `confidence`. Any
other run folder is a method by itself, of its own name.
"""

import json
from pathlib import Path

import pandas

from eln_kit.batch import report
from eln_kit.faults import ParamsError
from eln_kit.outcome.results import BEST
from eln_kit.paths import resolve
from eln_kit.store import params_file

CONTROL = "supervised only"


def runs(places: list[str]) -> pandas.DataFrame:
    """`folder setting method seed` of the finished runs in these folders, at any depth, each once.

    A setting is `shapes, 50 labels, 750 steps`: runs that differ in it are no match for each other.

    Raises:
        ParamsError: there is none in one of them.
    """
    found: dict[Path, None] = {}  # in order, each once
    for place in places:
        here = sorted(file.parent.parent for file in resolve(place).rglob(report.RESULTS))
        if not here:
            raise ParamsError(f"{place}: no finished run in it, nor is it one; eln-kit run or eln-kit sweep makes them")
        found |= dict.fromkeys(here)
    return pandas.DataFrame(map(_run, found))


def _run(folder: Path) -> dict:
    params = params_file.read(folder / "params.yaml")
    labels = len(json.loads((folder / "split.json").read_text())["labeled"])
    rows = json.loads((folder / report.RESULTS).read_text())["segmentation"]
    steps = max(row["steps"] for row in rows if row.get("stage") != "before")
    data = Path(params["data"]["root"]).name or params["data"]["name"]
    method = folder.parent.name if folder.name.isdigit() else folder.name
    setting = f"{data}, {labels} labels, {steps} steps"
    return {"folder": folder, "setting": setting, "method": method, "seed": params["run"]["seed"]}


def segmentation(found: pandas.DataFrame) -> pandas.DataFrame:
    """`method seed network steps miou pixel_accuracy` and each class's IoU, in 0..1, of what `runs` gives.

    The control of equal steps, wherever a run has one, is the method "supervised only", after as many steps.

    Raises:
        ParamsError: a run was measured by an older version.
    """
    rows = []
    for folder, method, seed in found[["folder", "method", "seed"]].itertuples(index=False):
        results = json.loads((folder / report.RESULTS).read_text())
        for row in results["segmentation"]:
            if "stage" not in row:
                raise ParamsError(f"{folder}: was measured by an older eln-kit; leave it out")
            if row["stage"] in ("1_supervised", "before") or row["name"].endswith(BEST):
                continue
            one = {"method": CONTROL if row["stage"] == "control" else method, "seed": seed}
            one |= {name: row[name] for name in ("network", "steps", "miou", "pixel_accuracy")}
            rows.append(one | dict(zip(results["classes"], row["iou"], strict=True)))
    return pandas.DataFrame(rows).fillna(float("nan")).infer_objects()
