"""How far the training of a run is: the steps, curves and pictures of each stage so far, and the time that is left.

All is read from the files that training writes, at any moment: what is not there yet, or half written, is left out.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from eln_kit.figures.curves import SHARES, WORDS
from eln_kit.method.stage import Stage
from eln_kit.method.stages import stages_of
from eln_kit.params import Params
from eln_kit.store.checkpoint import notebook_of
from eln_kit.training.pictures import FOLDER

COST = {  # seconds of a step over one of stage 1, roughly, until the stage itself has trained
    "1_supervised": 1.0,
    "2_error_localization": 4.5,
    "bound": 2.0,
    "3_semi_supervised": 6.0,
    "control": 1.0,
}
NOT_DRAWN = ("step", "lr", "images_per_s")
RECENT = 5  # lines of the log that a speed is taken from
POINTS = 200  # of a curve
WIDTH, HEIGHT = 200, 60


@dataclass(frozen=True)
class Curve:
    """A series of the log: its name, the points of an SVG polyline over an axis from 0 to `top`, and its last value."""

    name: str
    points: str
    top: float
    last: float


@dataclass(frozen=True)
class Training:
    """A stage: steps done and in all, seconds of a step where known, curves, and pictures by step: paths in the run."""

    name: str
    step: int
    steps: int
    seconds: float | None
    curves: list[Curve]
    pictures: list[tuple[int, str]]


def trainings(folder: Path, params: Params, state: dict) -> list[Training]:
    """The stages of a run in their order; without those that its notebooks, which have finished, left out.

    Args: state as `eln_kit.batch.state.read_state` gives it.
    """
    found = []
    for kind in stages_of(params):
        records = read_log(folder / kind.name / "metrics.jsonl")
        notebook = Path(notebook_of(kind.name)).stem
        if records or state.get(notebook, {}).get("state") != "finished":
            found.append(_training(folder, kind, params, records))
    return found


def seconds_left(stages: list[Training]) -> float | None:
    """Of training, in all stages; None before the first line of a log."""
    known = [stage.seconds / COST[stage.name] for stage in stages if stage.seconds]
    if not known:
        return None
    return sum((stage.steps - stage.step) * (stage.seconds or known[-1] * COST[stage.name]) for stage in stages)


def read_log(file: Path) -> list[dict]:
    """The whole lines of `metrics.jsonl`; empty where it is not there."""
    with suppress(OSError, ValueError):
        return [json.loads(line) for line in file.read_text().split("\n")[:-1]]  # the last is being written, or empty
    return []


def _training(folder: Path, kind: type[Stage], params: Params, records: list[dict]) -> Training:
    images = params.data.batch_labeled + (params.data.batch_unlabeled if kind.unlabeled_images(params) else 0)
    speeds = [speed for record in records[-RECENT:] if (speed := record.get("images_per_s"))]
    names = [name for name in (records[-1] if records else ()) if name not in NOT_DRAWN]
    pictures = [(int(file.stem), file) for file in (folder / kind.name / FOLDER).glob("*.png") if file.stem.isdigit()]
    return Training(
        kind.name,
        records[-1]["step"] if records else 0,
        kind.length(params),
        images / median(speeds) if speeds else None,
        [curve for name in names if (curve := _curve(records, name))],
        [(step, file.relative_to(folder).as_posix()) for step, file in sorted(pictures)],
    )


def _curve(records: list[dict], name: str) -> Curve | None:
    series = [(record["step"], record[name]) for record in records if isinstance(record.get(name), int | float)]
    if len(series) < 2:
        return None
    series = series[:: -max(1, len(series) // POINTS)][::-1]  # with the last one
    top, first = 1 if name in SHARES else max(value for _, value in series) or 1, series[0][0]
    wide, tall = WIDTH / max(series[-1][0] - first, 1), HEIGHT / top
    points = " ".join(f"{(step - first) * wide:.1f},{HEIGHT - value * tall:.1f}" for step, value in series)
    return Curve(WORDS.get(name, name.replace("_", " ")), points, top, series[-1][1])
