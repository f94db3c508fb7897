"""What a run found, as a table for the terminal and as `index.html` in the run folder."""

import json
from html import escape
from pathlib import Path
from urllib.parse import quote

import yaml

from eln_kit.faults import Fault
from eln_kit.paths import write_whole

RESULTS = "4_evaluate/results.json"
STYLE = """
:root { color-scheme: light dark; --line: #d5d5d5; --soft: #666; --link: #0060b0; --bad: #b34700 }
@media (prefers-color-scheme: dark) {
  :root { --line: #444; --soft: #aaa; --link: #7ab8f0; --bad: #ff9a5c }
  body { background: #1b1b1d; color: #e8e8e8 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1.2rem }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
a { color: var(--link) } .failed { color: var(--bad) }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem 1.2rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left }
th, h1, h2 { font-weight: 600 } .number { text-align: right; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto } .wide td, .wide th { white-space: nowrap }
figure { margin: 0 0 1.5rem } img { max-width: 100%; background: white; border-radius: 4px }
figcaption { color: var(--soft); font-size: .9rem } pre { overflow: auto; font-size: .85rem }
"""


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
    results = folder / RESULTS
    found = json.loads(results.read_text()) if results.is_file() else {}
    params = folder / "params.yaml"
    parts = [
        *(_html(head, rows) for head, rows in _tables(found) if rows),
        "<h2>Notebooks</h2>",
        _notebooks(folder),
        *_pictures(folder),
        "<h2>Params</h2>",
        f"<details><summary>every knob of this run</summary><pre>{escape(params.read_text())}</pre></details>"
        if params.is_file()
        else "",
    ]
    write_whole(folder / "index.html", page(folder.name, parts))
    return folder / "index.html"


def page(title: str, parts: list[str]) -> str:
    """A whole HTML page of parts that are HTML already."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    begin = f"<!doctype html>\n<html lang=en><head>{head}<title>{escape(title)}</title></head><body>"
    return "\n".join([begin, f"<h1>{escape(title)}</h1>", *parts, "</body></html>\n"])


def read_state(folder: Path) -> dict:
    """`{notebook: {"state", "mark", "seconds", "error"}}` in the order of the run; empty before the first."""
    file = folder / "state.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def write_state(folder: Path, state: dict):
    """The counterpart of `read_state`."""
    write_whole(folder / "state.json", json.dumps(state, indent=1))


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


def _html(head, rows) -> str:
    def line(row, tag):
        numbers = [' class="number"' if _is_number(i, head) else "" for i in range(len(head))]
        cells = (f"<{tag}{n}>{escape(cell)}</{tag}>" for n, cell in zip(numbers, row, strict=True))
        return f"<tr>{''.join(cells)}</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _is_number(column: int, head: list[str]) -> bool:
    return column > 0 and head[column] != "absent classes"


def _notebooks(folder: Path) -> str:
    lines = []
    for name, entry in read_state(folder).items():
        links = " · ".join(
            f'<a href="{quote(name + end)}">{label}</a>'
            for end, label in ((".html", "page"), (".ipynb", "notebook"))
            if (folder / f"{name}{end}").is_file()
        )
        kind = "failed" if entry["state"] in ("failed", "interrupted") else ""
        took = duration(entry["seconds"]) if "seconds" in entry else ""
        why = f'<br><span class="failed">{escape(entry["error"])}</span>' if entry.get("error") else ""
        lines.append(
            f'<tr><td>{escape(name)}{why}</td><td class="{kind}">{escape(entry["state"])}</td>'
            f'<td class="number">{took}</td><td>{links}</td></tr>'
        )
    return f"<table>{''.join(lines)}</table>"


def _pictures(folder: Path) -> list[str]:
    parts, stage = [], None
    for file in sorted(folder.glob("*/*.png")):
        if file.parent.name != stage:
            stage = file.parent.name
            parts.append(f"<h2>{escape(stage.replace('_', ' '))}</h2>")
        parts.append(picture(f"{stage}/{file.name}"))
    return parts


def picture(place: str) -> str:
    """A picture, by its place relative to the page."""
    caption, link = escape(Path(place).stem.replace("_", " ")), quote(place)
    return (
        f'<figure><a href="{link}"><img src="{link}" alt="{caption}" loading="lazy"></a>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
