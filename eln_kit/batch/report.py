"""What a run found: a table for the terminal, sentences, and `index.html` in the run folder."""

import datetime
import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import jinja2
import yaml

from eln_kit import __version__
from eln_kit.batch.state import read_state
from eln_kit.faults import Fault
from eln_kit.paths import write_whole

RESULTS = "4_evaluate/results.json"
ENOUGH = 20  # validation images, or groups of them, that an interval is told of
ONE_IMAGE = "4_evaluate/one_image"  # folder of its pictures, as `evaluation.show.write` leaves them


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
    """What stands out in results.json, a sentence each: the gain of stage 3, in all and by class, and ELN's rivals."""
    rows = {row["name"]: row for row in results.get("segmentation", [])}
    found = {row["name"]: row for row in results.get("error_detection", [])}
    teacher = rows.get("stage 3, teacher", {})
    return [*_gain(teacher, rows, results.get("classes", [])), *_detection(found)]


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


def _certainty(teacher: dict, gain: dict) -> str:
    images, units = teacher["images"], teacher["units"]
    on = f"{images} validation images" + (f" in {units} groups" if units < images else "")
    if units < ENOUGH:
        return f"On {on} that is too few to say."
    return (
        f"On other images like these {on} it would lie between {100 * gain['low']:+.1f} and {100 * gain['high']:+.1f} "
        "(95 %, bootstrap); other labelled images or another seed can move it further."
    )


def _detection(found: dict[str, dict]) -> Iterator[str]:
    for stage in (2, 3):
        rivals = ("1 - max softmax", "mean of the views", "ELN taught the truth of the unlabelled images")
        eln, softmax, mean, taught = (
            found.get(f"after stage {stage}, {name}", {}).get("aupr") for name in ("ELN", *rivals)
        )
        if eln is None or softmax is None:
            continue
        better = "better" if eln > softmax else "no better"
        aupr = f"AUPR {eln:.3f} and {softmax:.3f}"
        yield f"After stage {stage} ELN finds errors {better} than 1 - max softmax does: {aupr}."
        if mean is not None:
            yield f"The mean of the same views, with nothing learnt, reaches {mean:.3f}."
        if taught is not None:
            yield f"A copy of ELN that is taught the truth of the unlabelled images reaches {taught:.3f}."


def write_index(folder: Path) -> Path:
    """Write `index.html` of a run folder from whatever is in it so far: one file, its pictures inside."""
    results, params, split = folder / RESULTS, folder / "params.yaml", folder / "split.json"
    found = json.loads(results.read_text()) if results.is_file() else {}
    state = read_state(folder)
    content = {
        "facts": _facts(yaml.safe_load(params.read_text()), split, state) if params.is_file() else [],
        "notable": notable(found),
        "tables": [
            {"head": head, "rows": rows, "numbers": [i for i in range(len(head)) if _is_number(i, head)]}
            for head, rows in _tables(found)
            if rows
        ],
        "notebooks": [_notebook(folder, name, entry) for name, entry in state.items()],
        "pictures": [(file.parent.name, file.name) for file in sorted(folder.glob("*/*.png"))],
        "params": params.read_text() if params.is_file() else "",
        "image": ONE_IMAGE if (folder / ONE_IMAGE / "eln_map.png").is_file() else "",
        "has_truth": (folder / ONE_IMAGE / "truth.png").is_file(),
    }
    return write_page(folder / "index.html", "run.html", folder.name, **content)


def _facts(params: dict, split: Path, state: dict) -> list[str]:
    """One line on the data, one on the run."""
    data = params["data"]
    lines = [Path(data["root"]).name or data["name"]]
    if split.is_file():
        images = json.loads(split.read_text())
        lines[0] += f": {len(images['labeled'])} labelled and {len(images['unlabeled'])} unlabelled images"
    took = duration(sum(entry.get("seconds", 0) for entry in state.values()))
    today = datetime.date.today().isoformat()
    return [*lines, f"{today}, eln-kit {__version__}, seed {params['run']['seed']}, {took} in all notebooks"]


def write_page(path: Path, template: str, title: str, **content) -> Path:
    """Write a page from one of the templates, pictures inside, and give its path back."""
    write_whole(path, rendered(template, path.parent, title=title, **content))
    return path


def rendered(template: str, folder: Path, **content) -> str:
    """One of the templates, whose pictures lie in `folder`; names are escaped in pages, and kept in other files."""
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("eln_kit.batch"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["inside"] = lambda place: f"data:image/png;base64,{b64encode((folder / place).read_bytes()).decode()}"
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


def _notebook(folder: Path, name: str, entry: dict) -> dict:
    """What the page says of a notebook; entry is from `read_state`."""
    files = {"page": f"{name}.html", "notebook": f"{name}.ipynb"}
    links = {label: file for label, file in files.items() if (folder / file).is_file()}
    took = duration(entry["seconds"]) if "seconds" in entry else ""
    return {"name": name, "state": entry["state"], "error": entry.get("error"), "took": took, "links": links}
