"""What a run found: tables for the terminal and for notebooks, and sentences."""

import json
from pathlib import Path

import yaml

from eln_kit.batch.templating import rendered
from eln_kit.faults import Fault

RESULTS = "4_evaluate/results.json"


def table(results: dict) -> str:
    """The contents of results.json as plain text.

    Args:
        results: `{"segmentation": [{"name", "steps", "miou", "pixel_accuracy", "absent"}], "error_detection":
            [{"name", "auroc", "aupr", "error_rate", "kept_share", "kept_accuracy"}]}`, shares in 0..1;
            a value may be missing or None
    """
    return "\n\n".join(_text(head, rows) for head, rows in _tables(results) if rows)


def html(results: dict) -> str:
    """The same tables for a notebook, and what to notice where segmentation was measured."""
    sentences = notable(results) if "segmentation" in results else []
    return rendered("results.html", Path(), tables=shown_tables(results), notable=sentences)


def shown_tables(results: dict) -> list[dict]:
    """The same tables for a template: `head`, `rows`, and the `numbers` among the columns."""
    return [
        {"head": head, "rows": rows, "numbers": [i for i in range(len(head)) if _is_number(i, head)]}
        for head, rows in _tables(results)
        if rows
    ]


def compare(folders: list[Path]) -> str:
    """Finished runs as a Markdown table, a row each, with the mIoU in % and the AUPR of errors after stage 2.

    Raises:
        Fault: one of them has not finished.
    """
    names = ["stage 1, supervised", "control: supervised only", "stage 3, student", "stage 3, teacher"]
    head = ["run", "labelled", "seed", "steps", *names, "errors %", "ELN AUPR", "1 - max softmax AUPR"]
    lines = [head, ["---"] * len(head)]
    for folder in folders:
        try:
            results = json.loads((folder / RESULTS).read_text())
            params = yaml.safe_load((folder / "params.yaml").read_text())
            split = json.loads((folder / "split.json").read_text())
        except (OSError, ValueError):
            raise Fault(f"{folder}: no finished run is there; eln-kit run makes one") from None
        rows = {row["name"]: row for row in results["segmentation"]}
        eln, confidence = results["error_detection"][:2]
        lines.append(
            [
                folder.name,
                f"{len(split['labeled'])} of {len(split['labeled']) + len(split['unlabeled'])}",
                str(params["run"]["seed"]),
                f"{rows[names[0]]['steps']}, then {rows[names[2]]['steps']}",
                *(_percent(rows.get(name, {}).get("miou")) for name in names),
                _percent(eln["error_rate"]),
                _decimals(eln["aupr"]),
                _decimals(confidence["aupr"]),
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def notable(results: dict) -> list[str]:
    """What stands out in results.json, a sentence each: stage 3 against its baseline, by class, ELN against softmax."""
    rows = {row["name"]: row for row in results.get("segmentation", [])}
    found = {row["name"]: row for row in results.get("error_detection", [])}
    teacher = rows.get("stage 3, teacher")
    baseline = rows.get("control, averaged as the teacher is") or rows.get("stage 1, supervised")
    sentences = []
    if teacher and baseline and baseline["steps"]:
        gain = 100 * (teacher["miou"] - baseline["miou"])
        sentences.append(
            f"The teacher of stage 3 has an mIoU of {100 * teacher['miou']:.1f} %, {gain:+.1f} points against "
            f"{baseline['name']} ({baseline['steps']} steps; the teacher had {teacher['steps']}). Another seed "
            "moves mIoU by a point or two."
        )
        pairs = zip(results["classes"], teacher["iou"], baseline["iou"], strict=True)
        gains = sorted((100 * (new - old), name) for name, new, old in pairs if None not in (new, old))
        if len(gains) > 1:
            (least, loser), (most, winner) = gains[0], gains[-1]
            sentences.append(f"By class: {winner} changes by {most:+.1f} points of IoU, {loser} by {least:+.1f}.")
    for stage in (2, 3):
        pair = [found.get(f"after stage {stage}, {name}", {}).get("aupr") for name in ("ELN", "1 - max softmax")]
        if None not in pair:
            better = "better" if pair[0] > pair[1] else "no better"
            bounds = [row["aupr"] for name, row in found.items() if name.startswith(f"after stage {stage}, bound")]
            sentences.append(
                f"After stage {stage} ELN finds errors {better} than 1 - max softmax does: AUPR {pair[0]:.3f} and "
                f"{pair[1]:.3f}."
            )
            if bounds and bounds[0] > pair[1]:
                way = (pair[0] - pair[1]) / (bounds[0] - pair[1])
                there = f"it has gone {way:.0%} of the way there" if way < 1 else "more labels would not help it"
                sentences.append(f"A copy of ELN that is taught the truth reaches {bounds[0]:.3f}: {there}.")
    return sentences


def duration(seconds: float) -> str:
    """`75` becomes `1 min 15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _tables(results: dict) -> list[tuple[list[str], list[list[str]]]]:
    segmentation = [
        [
            row["name"],
            str(row.get("steps") or ""),
            _percent(row.get("miou")),
            _percent(row.get("pixel_accuracy")),
            _some(row.get("absent") or []),
        ]
        for row in results.get("segmentation", [])
    ]
    head = ["segmentation", "steps", "mIoU %", "pixel accuracy %"]
    if any(row[4] for row in segmentation):
        head.append("absent classes")
    segmentation = [row[: len(head)] for row in segmentation]
    detection = [
        [
            row["name"],
            _decimals(row.get("auroc")),
            _decimals(row.get("aupr")),
            *(_percent(row.get(key)) for key in ("error_rate", "kept_share", "kept_accuracy")),
        ]
        for row in results.get("error_detection", [])
    ]
    detection_head = ["error detection", "AUROC", "AUPR", "errors %", "kept %", "kept right %"]
    return [(head, segmentation), (detection_head, detection)]


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _percent(value) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _decimals(value) -> str:
    return "" if value is None else f"{value:.3f}"


def _text(head, rows) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if _is_number(i, head) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _is_number(column: int, head: list[str]) -> bool:
    return column > 0 and head[column] != "absent classes"
