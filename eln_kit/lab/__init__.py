"""The error lab of `notebooks/error_lab.ipynb`: errors made, found and learnt from, by hand.

`open_run`, then `make_errors`, `find_errors` and `what_if` show its three parts: controls where a person watches, the
same figures at three fixed settings where nobody does (papermill).
"""

from pathlib import Path

from eln_kit import __version__
from eln_kit.audience import person_watches
from eln_kit.faults import ParamsError
from eln_kit.lab.desk import Desk
from eln_kit.lab.headless import Batch
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings
from eln_kit.method.stages import STAGES, ErrorLocalization, Supervised
from eln_kit.notebook import short_errors
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, open_experiment, reopen
from eln_kit.store.params_file import build
from eln_kit.training.fit import fit

__all__ = ["Session", "Settings", "find_errors", "make_errors", "open_run", "open_session", "what_if"]

STAGE_NAMES = [name for name in STAGES if name[0].isdigit()]
SMALL = {  # under a minute on two cores
    "supervised.steps": 150,
    "error_localization.steps": 40,
    "run.control": False,
    "run.folder": "runs/error_lab",
}
_opened: list[Desk | Batch] = []


def open_run(run: str = "", stage: str = "", knobs: str = "") -> None:
    """Open a run folder, or make a small run; see `open_session`. Expected errors show as one line from here on."""
    short_errors()
    while _opened:
        _opened.pop().close()
    session = open_session(run, stage, knobs)
    _opened.append(Desk(session) if person_watches() else Batch(session))
    labeled, unlabeled = len(session.experiment.labeled), len(session.experiment.split.unlabeled)
    print(f"{session.experiment.folder}, after {session.stage}: {labeled} labelled and {unlabeled} unlabelled images")


def make_errors() -> None:
    """Part 1: auxiliary decoders that err, by how much, and how differently."""
    _current().show(0)


def find_errors() -> None:
    """Part 2: ELN's map beside plain scores, and what a threshold keeps."""
    _current().show(1)


def what_if() -> None:
    """Part 3: ELN trained on these errors; settings and pictures to keep."""
    _current().show(2)


def _current() -> Desk | Batch:
    if not _opened:
        short_errors()
        raise ParamsError("no run is open in this kernel, perhaps because it was restarted: run the cells above first")
    return _opened[0]


def open_session(run: str = "", stage: str = "", knobs: str = "") -> Session:
    """A session on a run folder's networks after `stage`, by default the last finished of stages 1 to 3.

    Without `run` and `knobs` it is the newest finished run; where there is none, or with knobs, a small experiment on
    generated scenes is trained, or loaded where it was trained before.

    Raises:
        ParamsError, DataError, CheckpointError: the run cannot be used.
    """
    if stage and stage not in STAGE_NAMES:
        raise ParamsError(f"stage = {stage!r}: should be one of {', '.join(STAGE_NAMES)}, or empty for the last")
    folder = resolve(run) if run else None if knobs else newest_run()
    experiment = reopen(folder, knobs) if folder else _small(knobs)
    stage = stage or next(filter(experiment.has_finished, reversed(STAGE_NAMES)), STAGE_NAMES[0])
    return Session(experiment, stage, experiment.networks(after=stage))


def newest_run() -> Path | None:
    """The run in `runs/` that was measured last, of those that this version has made."""
    results = resolve("runs").glob("*/4_evaluate/results.json")
    for file in sorted(results, key=lambda file: file.stat().st_mtime, reverse=True):
        path = file.parents[1] / ErrorLocalization.name / checkpoint.FILE
        if checkpoint.exists(path) and checkpoint.load(path)["version"] == __version__:
            return file.parents[1]
    return None


def _small(knobs: str) -> Experiment:
    experiment = open_experiment(build(build({}, SMALL).model_dump(), knobs))
    for kind in (Supervised, ErrorLocalization):
        fit(kind(experiment.networks(kind.after), experiment.params), experiment)
    return experiment
