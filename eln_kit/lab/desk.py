"""The lab with a person at it: controls wired to work that goes on beside them."""

from collections.abc import Callable
from functools import partial, wraps
from html import escape

import ipywidgets as w
from IPython.display import display

from eln_kit.faults import ParamsError
from eln_kit.lab import controls, views
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings
from eln_kit.lab.worker import Worker
from eln_kit.lab.works import DECODERS, DRAWING, ELN, SWEEP, Pieces, Works

SHOWING, FILES = "showing", "files"  # what is done at once
PAUSE = 0.25  # seconds that a ratio has to rest before its decoder is trained


def answer(method: Callable) -> Callable:
    """What a control asks for, from whatever thread: never while something else is shown, and never a traceback."""

    @wraps(method)
    def at_once(self: "Desk", *given: object) -> None:
        self.worker.at_once(SHOWING, partial(method, self, *given))

    return at_once


class Desk:
    """Three panels over one session.

    What a setting changes is trained under one name, what is looked at is shown under another, so that a look at
    another image or prediction never waits for a training: it shows the decoders and ELN as they are.
    """

    def __init__(self, session: Session):
        self.session, self.worker, self.status = session, Worker(self.failed), controls.Status()
        self.make = MakeErrors(session, self.status, self.refresh, self.drag, self.look, self.sweep)
        self.find = FindErrors(session, self.status, self.make.image, self.look, self.filter)
        acts = self.train_eln, self.reset_eln, self.write_params, self.save_pictures
        self.what = WhatIf(self.status, self.find.maps, *acts)
        self.works = Works(session, self.status, self.make, self.find, self.what)
        self.troubles: dict[str, str] = {}  # name of what failed -> why
        self.complaints = [w.HTML() for _ in range(3)]
        self.reading = w.HTML().add_class("eln-reading")
        ears = [controls.unseen("paper", self.follow), controls.unseen("mouse", self.read)]
        shared = [w.HTML(views.STYLE + views.SCRIPT), *ears]
        panels: list[w.Box] = [self.make, self.find, self.what]
        self.parts = [
            w.VBox([*shared, words, panel.add_class("eln-part"), self.reading]).add_class("eln-lab")
            for panel, words in zip(panels, self.complaints, strict=True)
        ]

    def make_errors(self) -> None:
        self._display(0)

    def find_errors(self) -> None:
        self._display(1)

    def what_if(self) -> None:
        self._display(2)

    def _display(self, part: int) -> None:
        display(self.parts[part])
        if self.make.drawn is None and not self.worker.busy():
            self.refresh()

    @answer
    def follow(self, paper: str) -> None:
        """Draw everything anew on the page's colour."""
        if paper and paper != self.make.paper:
            self.make.paper = self.find.paper = paper
            if self.works.swept:
                self.make.show_sweep(self.works.swept)
            self._refresh()

    def read(self, mouse: str) -> None:
        """Say what lies under the mouse: `mouse` is a picture's name and a place in it, or empty; waits for nobody."""
        name, *place = mouse.split() or [""]
        picture = {"errors": self.make.errors, "maps": self.find.maps, "filter": self.find.filtered}.get(name)
        pixel = picture.pixel(*map(float, place)) if picture else None
        self.reading.value = views.pixel(self.session, *pixel) if pixel else ""

    def failed(self, name: str, line: str) -> None:
        """One line above each part says why work ended early; what it would have shown anew stays pale."""
        self.troubles[name] = line
        self._tell_troubles()

    def _forget(self, *names: str) -> None:
        """Troubles with what is begun anew."""
        for name in names:
            self.troubles.pop(name, None)
        self.what.kept.value = ""
        self._tell_troubles()

    def _tell_troubles(self) -> None:
        lines = "<br>".join(map(escape, self.troubles.values()))
        for words in self.complaints:
            words.value = f'<span class="eln-complaint">{lines}</span>' if lines else ""
        self.status.trouble([name for name in self.troubles if name != FILES])

    @answer
    def refresh(self) -> None:
        """Bring everything up to the controls; what is known already is not computed again."""
        self._refresh()

    @answer
    def drag(self, number: int) -> None:
        """Show what is known near a decoder's ratio, and train it at exactly that one when it rests."""
        self._refresh(PAUSE)
        self.make.show_dragged(number)

    @answer
    def look(self) -> None:
        """Show another image or prediction, whatever trains."""
        self._look()

    @answer
    def filter(self) -> None:
        self.find.show_filtered()

    @answer
    def sweep(self) -> None:
        self._begin(SWEEP, self.works.sweep(self.make.settings))

    @answer
    def train_eln(self) -> None:
        self._pale_judgement()
        self._begin(ELN, self._training_eln(self.make.settings, self.what.steps.value))

    @answer
    def reset_eln(self) -> None:
        self._pale_judgement()
        self._begin(ELN, self._resetting_eln())

    def _refresh(self, after: float = 0.0) -> None:
        make = self.make
        self._forget(*self.troubles)
        self.worker.stop(DRAWING)
        self.status.done(DRAWING)
        if SWEEP not in self.status.shares:
            self.worker.stop(SWEEP)  # that nobody waits for, of settings that may be old
        controls.pale(make.errors, make.numbers, make.curves)
        if not self.works.shows_sweep_of(make.settings):
            controls.pale(make.swept)
        if self.find.which.value:
            self._pale_judgement()
        self._begin(DECODERS, self._making(make.settings), after)

    def _look(self) -> None:
        controls.pale(self.make.errors)
        self._pale_judgement()
        self._begin(DRAWING, self.works.look(self.make.place, self.find.which.value or 0))

    def _pale_judgement(self) -> None:
        controls.pale(self.find.maps, self.find.filtered, self.find.numbers)

    def _begin(self, name: str, pieces: Pieces, after: float = 0.0) -> None:
        self._forget(name, SHOWING, FILES)
        self.status.begin(name)
        self.worker.start(name, pieces, after)

    def _making(self, settings: Settings) -> Pieces:
        yield from self.works.make_decoders(settings)
        yield self._look
        yield from self.works.describe_errors()
        if DECODERS not in self.status.stopped:
            yield partial(self.prepare, settings)

    def prepare(self, settings: Settings) -> None:
        """Sweep through the ratios while nothing else is to be done, so that dragging has something to show."""
        if SWEEP not in self.status.shares:
            self.worker.start(SWEEP, self.works.prepare(settings), idle=True)

    def _training_eln(self, settings: Settings, steps: int) -> Pieces:
        yield from self.works.train_eln(settings, steps)
        yield self._refresh

    def _resetting_eln(self) -> Pieces:
        yield from self.works.reset_eln()
        yield self._look

    @answer
    def write_params(self) -> None:
        self._forget(FILES)
        try:
            params, threshold = self.session.params, self.find.threshold.value
            path = self.make.settings.write_params(params, threshold, self.what.name.value)
            words = f"Wrote {escape(str(path))}. Train with: eln-kit run params/{path.name}"
            self.what.kept.value = views.caption(words)
        except ParamsError as error:
            self.failed(FILES, str(error))

    @answer
    def save_pictures(self) -> None:
        """Write the pictures as they are into the run folder."""
        self._forget(FILES)
        make, find = self.make, self.find
        pictures = {"errors": make.errors, "ratios": make.curves, "sweep": make.swept}
        pictures |= {"maps": find.maps, "filter": find.filtered}
        there = {name: picture.image.value for name, picture in pictures.items() if picture.image.value}
        folder = self.session.experiment.folder / "error_lab"
        try:
            folder.mkdir(exist_ok=True)
            for name, data in there.items():
                (folder / f"{name}.png").write_bytes(data)
            words = f"Saved {', '.join(there)} in {escape(str(folder))}." if there else "Nothing is shown yet."
            self.what.kept.value = views.caption(words)
        except OSError as error:
            self.failed(FILES, f"{folder}: cannot be written ({error.strerror})")

    def close(self) -> None:
        self.worker.close()
