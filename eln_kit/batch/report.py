"""What a run found, as a table for the terminal and as `index.html` in the run folder."""

import json
from pathlib import Path

import jinja2
import yaml

from eln_kit.batch.state import read_state
from eln_kit.faults import Fault
from eln_kit.paths import write_whole

RESULTS = "4_evaluate/results.json"


def table(results: dict) -> str:
    """The contents of results.json as plain text.

    Args:
        results: `{"segmentation": [{"name", "steps", "miou", "pixel_accuracy", "absent"}], "error_detection":
            [{"name", "auroc", "aupr", "error_rate", "kept_share", "kept_accuracy"}]}`, shares in 0..1;
            a value may be missing or None
    """
    return "\n\n".join(_text(head, rows) for head, rows in _tables(results) if rows)


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
        except (OSError, ValueError) as error:
            raise Fault(f"{folder}: not a finished run: {error}") from None
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


def write_index(folder: Path) -> Path:
    """Write `index.html` of a run folder from whatever is in it so far."""
    results, params = folder / RESULTS, folder / "params.yaml"
    found = json.loads(results.read_text()) if results.is_file() else {}
    content = {
        "tables": [
            {"head": head, "rows": rows, "numbers": [i for i in range(len(head)) if _is_number(i, head)]}
            for head, rows in _tables(found)
            if rows
        ],
        "notebooks": [_notebook(folder, name, entry) for name, entry in read_state(folder).items()],
        "pictures": [(file.parent.name, file.name) for file in sorted(folder.glob("*/*.png"))],
        "params": params.read_text() if params.is_file() else "",
    }
    return write_page(folder / "index.html", "run.html", folder.name, **content)


def write_page(path: Path, template: str, title: str, **content) -> Path:
    """Write a page from one of the templates, and give its path back."""
    write_whole(path, rendered(template, title=title, **content))
    return path


def rendered(template: str, **content) -> str:
    """One of the templates; names are escaped in pages, and left as they are in other files."""
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("eln_kit.batch"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return pages.get_template(template).render(**content)


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
            ", ".join(row.get("absent") or []),
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


def _notebook(folder: Path, name: str, entry: dict) -> dict:
    """What the page says of a notebook; entry is from `read_state`."""
    files = {"page": f"{name}.html", "notebook": f"{name}.ipynb"}
    links = {label: file for label, file in files.items() if (folder / file).is_file()}
    took = duration(entry["seconds"]) if "seconds" in entry else ""
    return {"name": name, "state": entry["state"], "error": entry.get("error"), "took": took, "links": links}
