"""The error lab of `notebooks/error_lab.ipynb`: errors made, found and learnt from, by hand.

`open_run`, then `make_errors`, `find_errors` and `what_if` show its three parts: controls where a person watches, the
same figures at three fixed settings where nobody does (papermill).
"""

from eln_kit.audience import person_watches
from eln_kit.faults import ParamsError
from eln_kit.lab.desk import Desk
from eln_kit.lab.headless import Batch
from eln_kit.lab.opening import open_session
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings
from eln_kit.notebook import short_errors

__all__ = ["Session", "Settings", "find_errors", "make_errors", "open_run", "open_session", "what_if"]

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
