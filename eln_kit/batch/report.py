"""What a run found: tables for the terminal and for notebooks, and sentences."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from eln_kit.batch.templating import rendered
from eln_kit.faults import Fault

RESULTS = "4_evaluate/results.json"
DETECTORS = "4_evaluate/detectors.json"  # what `detection.detect` gives
Cell = Callable[[dict], str]  # of a row of results.json
ENOUGH = 20  # validation images, or groups of them, that an interval is told of


def table(results: dict) -> str:
    """The contents of results.json as plain text.

    Args:
        results: `{"segmentation": [{"name", "steps", "miou", "pixel_accuracy", "absent"}], "error_detection":
            [{"name", "auroc", "aupr", "error_rate", "kept_share", "kept_accuracy"}]}`, shares in 0..1;
            a value may be missing or None
    """
    return "\n\n".join(map(_text, shown_tables(results)))


def html(results: dict) -> str:
    """The same tables for a notebook, and what to notice where segmentation was measured."""
    sentences = notable(results) if "segmentation" in results else []
    return rendered("results.html", Path(), tables=shown_tables(results), notable=sentences)


def shown_tables(results: dict) -> list[dict]:
    """What was measured as `head`, `rows` of cells, and the `numbers` among the columns; empty columns are left out."""
    tables = []
    for part, columns in COLUMNS.items():
        if rows := results.get(part):
            filled = {head: cell for head, cell in columns.items() if any(map(cell, rows))}
            cells = [[row["name"], *(cell(row) for cell in filled.values())] for row in rows]
            numbers = [number for number, head in enumerate(filled, 1) if head != "absent classes"]
            tables.append({"head": [part.replace("_", " "), *filled], "rows": cells, "numbers": numbers})
    return tables


def compare(folders: list[Path]) -> str:
    """Finished runs as a Markdown table, a row each, with the mIoU in % and the AUPR of errors after stage 2.

    Raises:
        Fault: one of them has not finished.
    """
    networks = {
        "stage 1, supervised": ("1_supervised", "student"),
        "control: supervised only": ("control", "student"),
        "stage 3, student": ("3_semi_supervised", "student"),
        "stage 3, teacher": ("3_semi_supervised", "teacher"),
    }
    head = ["run", "labelled", "seed", "steps", *networks, "errors %", "ELN AUPR", "1 - max softmax AUPR"]
    lines = [head, ["---"] * len(head)]
    for folder in folders:
        try:
            results = json.loads((folder / RESULTS).read_text())
            params = yaml.safe_load((folder / "params.yaml").read_text())
            split = json.loads((folder / "split.json").read_text())
        except (OSError, ValueError):
            raise Fault(f"{folder}: no finished run is there; eln-kit run makes one") from None
        first, control, student, teacher = (network_row(results, *of) for of in networks.values())
        judged = _by_detector(results, "2_error_localization")
        if not (first and judged):
            raise Fault(f"{folder}: was measured by an older eln-kit; leave it out")
        eln, confidence = judged["ELN"], judged["1 - max softmax"]
        lines.append(
            [
                folder.name,
                f"{len(split['labeled'])} of {len(split['labeled']) + len(split['unlabeled'])}",
                str(params["run"]["seed"]),
                f"{first['steps']}, then {student['steps']}",
                *(percent(row.get("miou")) for row in (first, control, student, teacher)),
                percent(eln["error_rate"]),
                _decimals(eln["aupr"]),
                _decimals(confidence["aupr"]),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notable(results: dict) -> list[str]:
    """What stands out in results.json, a sentence each: the gain of stage 3, in all and by class, and ELN's rivals."""
    rows = {row["name"]: row for row in results.get("segmentation", [])}
    said = [*_gain(network_row(results, "3_semi_supervised", "teacher"), rows, results.get("classes", []))]
    said += labels_gain(results)
    for number, stage in ((2, "2_error_localization"), (3, "3_semi_supervised")):
        said += _detection(number, _by_detector(results, stage))
    return said


def network_row(results: dict, stage: str, network: str) -> dict:
    """The row of results.json of a stage's student or teacher after its last step; empty where there is none."""
    rows = results.get("segmentation", [])
    return next((row for row in rows if (row.get("stage"), row.get("network")) == (stage, network)), {})


def _by_detector(results: dict, stage: str) -> dict[str, dict]:
    return {row["detector"]: row for row in results.get("error_detection", []) if row.get("stage") == stage}


def _gain(teacher: dict, rows: dict[str, dict], classes: list[str]) -> Iterator[str]:
    if "gain" not in teacher:
        return
    gain = teacher["gain"]
    baseline = rows[gain["over"]]
    yield (
        f"The teacher of stage 3 has an mIoU of {100 * teacher['miou']:.1f} %, {100 * gain['miou']:+.1f} points "
        f"against {baseline['name']} ({baseline['steps']} steps; the teacher had {teacher['steps']}). "
        + _certainty(teacher, gain)
    )
    pairs = zip(classes, teacher["iou"], baseline["iou"], strict=True)
    gains = sorted((100 * (new - old), name) for name, new, old in pairs if None not in (new, old))
    if len(gains) > 1:
        (least, loser), (most, winner) = gains[0], gains[-1]
        yield f"By class: {winner} changes by {most:+.1f} points of IoU, {loser} by {least:+.1f}."


def labels_gain(results: dict) -> list[str]:
    """What a run with new labels gains over the one that it started from, in a sentence; none of other runs."""
    rows = [row for row in results.get("segmentation", []) if "labels_gain" in row]
    return [
        f"With these labels the mIoU is {100 * row['miou']:.1f} % ({row['name']}), "
        f"{100 * row['labels_gain']['miou']:+.1f} points against the network of run.start_from. "
        + _certainty(row, row["labels_gain"])
        for row in rows
    ]


def _certainty(teacher: dict, gain: dict) -> str:
    images, units = teacher["images"], teacher["units"]
    on = f"{images} validation images" + (f" in {units} groups" if units < images else "")
    if units < ENOUGH:
        return f"On {on} that is too few to say."
    return (
        f"On other images like these {on} it would lie between {100 * gain['low']:+.1f} and {100 * gain['high']:+.1f} "
        "(95 %, bootstrap); other labelled images or another seed can move it further."
    )


def _detection(number: int, rows: dict[str, dict]) -> Iterator[str]:
    rivals = ("1 - max softmax", "mean of the views", "ELN taught the truth of the unlabelled images")
    eln, softmax, mean, taught = (rows.get(name, {}).get("aupr") for name in ("ELN", *rivals))
    if eln is None or softmax is None:
        return
    better = "better" if eln > softmax else "no better"
    yield f"After stage {number} ELN finds errors {better} than 1 - max softmax does: AUPR {eln:.3f} and {softmax:.3f}."
    images, before, after = rows["ELN"]["calibrated_on"], rows["ELN"]["ece_before"], rows["ELN"]["reliability"]["ece"]
    if images:
        yield f"Its trust is calibrated on {images} held-out images: ECE {after:.3f}, and {before:.3f} before."
    else:
        yield f"Its trust is a score (ECE {after:.3f}): no image was held out to calibrate it (data.held_out)."
    if mean is not None:
        yield f"The mean of the same views, with nothing learnt, reaches {mean:.3f}."
    if taught is not None:
        yield f"A copy of ELN that is taught the truth of the unlabelled images reaches {taught:.3f}."


def duration(seconds: float) -> str:
    """`75` becomes `1 min 15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def interval(row: dict) -> str:
    """`50.0 to 60.0`; empty where too few images, or groups of them, were measured."""
    known = row.get("units", 0) >= ENOUGH
    return f"{percent(row['low'])} to {percent(row['high'])}" if known else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


COLUMNS: dict[str, dict[str, Cell]] = {  # of each part of results.json
    "segmentation": {
        "steps": lambda row: str(row.get("steps") or ""),
        "mIoU %": lambda row: percent(row.get("miou")),
        "95 % interval": interval,
        "pixel accuracy %": lambda row: percent(row.get("pixel_accuracy")),
        "absent classes": lambda row: _some(row.get("absent") or []),
    },
    "error_detection": {
        "AUROC": lambda row: _decimals(row.get("auroc")),
        "AUPR": lambda row: _decimals(row.get("aupr")),
        "errors %": lambda row: percent(row.get("error_rate")),
        "ECE": lambda row: _decimals(row.get("reliability", {}).get("ece")),
        "passes": lambda row: str(row.get("passes", "")),
        "kept %": lambda row: percent(row.get("kept_share")),
        "kept right %": lambda row: percent(row.get("kept_accuracy")),
    },
}


def _text(table: dict) -> str:
    columns = []
    for number, column in enumerate(zip(table["head"], *table["rows"], strict=True)):
        width, side = max(map(len, column)), ">" if number in table["numbers"] else "<"
        columns.append([f"{cell:{side}{width}}" for cell in column])
    head, *lines = ("  ".join(row).rstrip() for row in zip(*columns, strict=True))
    return "\n".join([head, "-" * len(head), *lines])
