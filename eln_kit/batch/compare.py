"""Several finished runs beside each other: long tables, a row a run and what was measured, and their summaries.

Runs that differ in the seed alone belong to one method: `runs/filters/confidence/0` and `.../1` to `confidence`. Any
other run folder is a method by itself, of its own name.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas
from IPython.display import Markdown

from eln_kit.batch import report
from eln_kit.batch.live import read_log
from eln_kit.batch.templating import write_page
from eln_kit.evaluation.results import BEST
from eln_kit.faults import ParamsError
from eln_kit.paths import resolve
from eln_kit.store import params_file

DETECTORS = "4_evaluate/detectors.json"  # what `detection.detect` gives, in a run folder
MEASURES = ["auroc", "aupr", "fpr95", "aurc", "excess_aurc", "augrc", "kept_80", "ece", "brier"]
CONTROL = "supervised only"
NO_DETECTORS = "Nothing to show: none of these runs has its detectors measured; `eln-kit sweep` does that."
ONE_SEED = "One seed of each method: what another one would give is not known; `eln-kit sweep` trains several."
LONGEST = 100  # rows of a table on the page; longer ones are in their CSV files


def runs(places: list[str]) -> list[Path]:
    """The finished runs in these folders, at any depth.

    Raises:
        ParamsError: there is none in one of them.
    """
    found: dict[Path, None] = {}  # in order, each once
    for place in places:
        here = sorted(file.parent.parent for file in resolve(place).rglob(report.RESULTS))
        if not here:
            raise ParamsError(f"{place}: no finished run in it, nor is it one; eln-kit run or eln-kit sweep makes them")
        found |= dict.fromkeys(here)
    return list(found)


def comparable(folders: list[Path]) -> tuple[list[Path], list[str]]:
    """The most runs of one data set, number of labels and of steps, and a line on each group of others, left out."""
    groups: dict[str, list[Path]] = {}
    for folder in folders:
        groups.setdefault(_setting(folder), []).append(folder)
    kept = max(groups, key=lambda setting: len(groups[setting]))
    others = [f"{name}: {', '.join(map(str, each))}" for name, each in groups.items() if name != kept]
    return groups[kept], others


def _setting(folder: Path) -> str:
    """`shapes, 50 labels, 750 steps`: runs that differ in it are no match for each other."""
    data = params_file.read(folder / "params.yaml")["data"]
    labels = len(json.loads((folder / "split.json").read_text())["labeled"])
    rows = json.loads((folder / report.RESULTS).read_text())["segmentation"]
    steps = max(row["steps"] for row in rows if row.get("stage") != "before")
    return f"{Path(data['root']).name or data['name']}, {labels} labels, {steps} steps"


def method(folder: Path) -> str:
    """The name that a run's seeds share."""
    return folder.parent.name if folder.name.isdigit() else folder.name


def segmentation(folders: list[Path]) -> pandas.DataFrame:
    """`method seed network steps miou pixel_accuracy` and each class's IoU, in 0..1.

    The control of equal steps, wherever a run has one, is the method "supervised only", after as many steps.
    """
    rows = []
    for folder in folders:
        results, seed = json.loads((folder / report.RESULTS).read_text()), _seed(folder)
        for row in results["segmentation"]:
            if "stage" not in row:
                raise ParamsError(f"{folder}: was measured by an older eln-kit; leave it out")
            if row["stage"] in ("1_supervised", "before") or row["name"].endswith(BEST):
                continue
            control = row["stage"] == "control"
            rows.append(
                {
                    "method": CONTROL if control else method(folder),
                    "seed": seed,
                    **{name: row[name] for name in ("network", "steps", "miou", "pixel_accuracy")},
                    **dict(zip(results["classes"], row["iou"], strict=True)),
                }
            )
    return _table(rows)


def detection(folders: list[Path]) -> pandas.DataFrame:
    """`method seed detector passes pixels` and the pooled measures of every detector after stage 2."""
    return _table(
        one | {key: found[key] for key in ("passes", "pixels")} | {key: found["pooled"][key] for key in MEASURES}
        for one, found in _detectors(folders)
    )


def detection_by(folders: list[Path], part: str) -> pandas.DataFrame:
    """`method seed detector`, and a column of AUPR for each of the parts: part is "classes" or "distances"."""
    return _table(
        one | {label: measured["aupr"] for label, measured in found[part].items()} for one, found in _detectors(folders)
    )


def curves(folders: list[Path]) -> pandas.DataFrame:
    """`method seed detector coverage risk`: the share of errors among the most trusted pixels."""
    return pandas.concat(pandas.DataFrame(found["curve"]).assign(**one) for one, found in _detectors(folders))


def images(folders: list[Path]) -> pandas.DataFrame:
    """`method seed detector measure mean low high images`: means over images with 95 % bootstrap intervals."""
    return _table(
        one | {"measure": measure, **values}
        for one, found in _detectors(folders)
        for measure, values in found["images"].items()
    )


def pseudo_labels(folders: list[Path]) -> pandas.DataFrame:
    """`method seed step kept_share kept_accuracy`, from stage 3's log."""
    rows, names = [], ("step", "kept_share", "kept_accuracy")
    for folder in folders:
        log, one = folder / "3_semi_supervised" / "metrics.jsonl", {"method": method(folder), "seed": _seed(folder)}
        records = [record for record in read_log(log) if "kept_share" in record]
        rows += [one | {name: record.get(name) for name in names} for record in records]
    return _table(rows)


def over_seeds(table: pandas.DataFrame, by: list[str], values: list[str], percent: bool = False) -> pandas.DataFrame:
    """Mean and sample deviation over the seeds, as text, and how many seeds there are; in the table's order."""
    groups = table.groupby(by, sort=False)[values]
    scale, digits = (100, "{:.1f}") if percent else (1, "{:.3f}")
    mean, deviation = scale * groups.mean(), scale * groups.std()
    text = mean.map(digits.format) + (" ± " + deviation.map(digits.format)).where(deviation.notna(), "")
    return text.where(mean.notna(), "").assign(seeds=groups.size())


def or_why(table: pandas.DataFrame, why: str) -> pandas.DataFrame | Markdown:
    """The table, or where it is empty why."""
    return table if len(table) else Markdown(why)


def export(folder: Path, tables: dict[str, pandas.DataFrame]) -> Path:
    """Write each table as CSV, and `index.html` with the short ones and the folder's pictures, which it gives back."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv")
    shown = {
        name: table.to_html(float_format="{:.3f}".format, border=0)
        for name, table in tables.items()
        if 0 < len(table) <= LONGEST
    }
    pictures = sorted(place.name for place in folder.glob("*.png"))
    title = f"{folder.name}: runs compared"
    return write_page(folder / "index.html", "comparison.html", title, tables=shown, pictures=pictures)


def _table(rows: Iterable[dict]) -> pandas.DataFrame:
    """With NaN for None, in columns of nothing else too."""
    return pandas.DataFrame(rows).fillna(float("nan")).infer_objects()


def _detectors(folders: list[Path]) -> Iterator[tuple[dict, dict]]:
    """Of each run that has them: `method seed detector`, and what was measured of it."""
    for folder in folders:
        if (folder / DETECTORS).is_file():
            run = {"method": method(folder), "seed": _seed(folder)}
            for name, found in json.loads((folder / DETECTORS).read_text())["detectors"].items():
                yield run | {"detector": name}, found


def _seed(folder: Path) -> int:
    return params_file.read(folder / "params.yaml")["run"]["seed"]
