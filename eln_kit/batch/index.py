"""`index.html` of a run folder: written from whatever is in it so far, and while the run goes on again and again."""

import datetime
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml
from PIL import Image

from eln_kit import __version__
from eln_kit.batch import live, report
from eln_kit.batch.report import duration, interval, percent
from eln_kit.batch.state import read_state
from eln_kit.batch.templating import write_page
from eln_kit.params import Params

EVERY = 10  # seconds between two pages
SHARE = 0.02  # of the time that writing pages may take
TRUST = "4_evaluate/trust"  # a folder an image, as `tools.show.write_maps` leaves it


@contextmanager
def renewed(folder: Path) -> Iterator[None]:
    """While entered, a thread keeps `index.html` up to date; at the end it is written whole.

    A page that cannot be written stops nothing: one line on stderr says why.
    """
    ended = threading.Event()

    def renew() -> None:
        pause, told = 0.0, training_left(folder)
        while not ended.wait(pause):
            began = time.monotonic()
            _try_to_write(folder, running=True)
            if not told and (told := training_left(folder)):
                print(f"{told} of training left in all stages, by its speed so far", flush=True)
            pause = max(EVERY, (time.monotonic() - began) / SHARE)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if problem := _try_to_write(folder, running=False):
            print(f"{folder / 'index.html'}: could not be written ({problem})", file=sys.stderr, flush=True)


def _try_to_write(folder: Path, running: bool) -> str:
    """What was wrong, or nothing: files that others write may be anything."""
    try:
        write_index(folder, running)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def write_index(folder: Path, running: bool = False) -> Path:
    """One file, its pictures inside; a page of a run that goes on links them, and reloads itself."""
    found, params, state = read_json(folder / report.RESULTS), _params(folder), read_state(folder)
    trainings = live.trainings(folder, params, state) if params else []
    maps = [place.relative_to(folder).as_posix() for place in sorted(folder.glob(f"{TRUST}/*/eln_map.png"))]
    content = {
        "facts": _facts(folder, params) if params else [],
        "headline": headline(found, folder, state),
        "notable": report.notable(found),
        "tables": report.shown_tables(found),
        "notebooks": [_notebook(folder, name, entry) for name, entry in state.items()],
        "pictures": [(file.parent.name, file.name) for file in sorted(folder.glob("*/*.png"))],
        "params": (folder / "params.yaml").read_text() if params else "",
        "maps": [place.rpartition("/")[0] for place in maps],
        "has_truth": bool(maps) and all((folder / place).with_name("truth.png").is_file() for place in maps),
        "legend": _legend(folder / maps[0], found.get("classes", [])) if maps else [],
        "threshold": params.semi_supervised.threshold if params else 0.5,
        "rule": params.semi_supervised.rule() if params else "",
        "trainings": trainings,
        "left": _left(trainings),
        "running": running,
        "now": time.time(),
        "every": EVERY,
    }
    return write_page(folder / "index.html", "run.html", folder.name, linked=running, **content)


def read_json(file: Path) -> dict:
    """What is in the file, or nothing where it is not there or not whole."""
    with suppress(OSError, ValueError):
        return json.loads(file.read_text())
    return {}


def training_left(folder: Path) -> str:
    """The time that training still takes in all stages, such as `3 min 20 s`; empty where nobody knows yet."""
    params = _params(folder)
    return _left(live.trainings(folder, params, read_state(folder))) if params else ""


def _left(trainings: list[live.Training]) -> str:
    seconds = live.seconds_left(trainings)
    return duration(seconds) if seconds else ""


def _params(folder: Path) -> Params | None:
    with suppress(OSError, ValueError, TypeError, yaml.YAMLError):
        return Params(**yaml.safe_load((folder / "params.yaml").read_text()))
    return None


def headline(found: dict, folder: Path, state: dict) -> list[tuple[str, str, str]]:
    """What a run came to, each as a label, a value and a note: mIoU, labels, best and worst class, time.

    Args: found: the contents of results.json, as `outcome.results.evaluate` has them.
    """
    rows = found.get("segmentation", [])
    if not rows:
        return []
    row = report.network_row(found, "3_semi_supervised", "teacher") or rows[-1]
    told = [("mIoU", f"{percent(row['miou'])} %", f"{_interval(row)}{row['name']}")]
    if split := read_json(folder / "split.json"):
        labeled, unlabeled = len(split["labeled"]), len(split["unlabeled"])
        told.append(("labels", str(labeled), f"of {labeled + unlabeled} training images"))
    ious = [
        (iou, name) for iou, name in zip(row.get("iou", []), found.get("classes", []), strict=False) if iou is not None
    ]
    if len(ious) > 1:
        for label, (iou, name) in (("best class", max(ious)), ("worst class", min(ious))):
            told.append((label, name, f"IoU {percent(iou)} %"))
    seconds = sum(entry.get("seconds", 0) for entry in state.values())
    return [*told, ("time", duration(seconds), "all notebooks")] if seconds else told


def _interval(row: dict) -> str:
    """`50.0 to 60.0 (95 %), 30 validation images, `; empty where results.json has no interval."""
    if not {"low", "high", "images", "units"} <= row.keys():
        return ""
    known, images = interval(row), f"{row['images']} validation images"
    return f"{known} (95 %), {images}, " if known else f"{images}, too few for an interval, "


def _facts(folder: Path, params: Params) -> list[str]:
    """One line on the data, one on the run."""
    line = Path(params.data.root).name or params.data.name
    if split := read_json(folder / "split.json"):
        line += f": {len(split['labeled'])} labelled and {len(split['unlabeled'])} unlabelled images"
    return [line, f"{datetime.date.today().isoformat()}, eln-kit {__version__}, seed {params.run.seed}"]


def _legend(map: Path, classes: list[str]) -> list[tuple[str, str]]:
    """Name and colour, as `#rrggbb`, of each class, from the palette of the prediction beside the map."""
    palette = Image.open(map.with_name("prediction.png")).getpalette() or []
    colors = ["#" + bytes(palette[3 * index : 3 * index + 3]).hex() for index in range(len(classes))]
    return list(zip(classes, colors, strict=True))


def _notebook(folder: Path, name: str, entry: dict) -> dict:
    """What the page says of a notebook; entry is from `read_state`."""
    places = {"page": f"{name}.html", "file": f"{name}.ipynb"}
    links = {label: place for label, place in places.items() if (folder / place).is_file()}
    took = duration(entry["seconds"]) if "seconds" in entry else ""
    return {"name": name, "state": entry["state"], "error": entry.get("error"), "took": took} | links
