"""The lab with a person at it: controls wired to work that goes on beside them."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial, wraps
from html import escape
from typing import TypeVar

import ipywidgets as w
from IPython.display import display

from eln_kit.faults import ParamsError
from eln_kit.lab import controls, views
from eln_kit.lab.judging import Judged
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings
from eln_kit.lab.worker import Worker

# As the status names work; what trains can be stopped.
DECODERS, SWEEP, ELN = "training decoders", "training at each ratio", "training ELN"
MEASURING, DRAWING = "measuring", "drawing"
SHOWING, FILES = "showing", "files"  # what is done at once
Pieces = Generator[Callable[[], None], None, None]
Made = TypeVar("Made")
PAUSE = 0.25  # seconds that a ratio has to rest before its decoder is trained


def answer(method: Callable) -> Callable:
    """What a control asks for, from whatever thread: never while something else is shown, and never a traceback."""

    @wraps(method)
    def at_once(self, *given) -> None:
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
        self.swept: Settings | None = None  # whose sweep is shown
        self.trained: list[Judged] = []  # ELN as it was before and after each training
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
            if self.swept:
                self.make.show_sweep(self.swept)
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
        self._begin(SWEEP, self._sweeping(self.make.settings))

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
        if self.find.which.value:
            self._pale_judgement()
        self._begin(DECODERS, self._making(make.settings), after)

    def _look(self) -> None:
        controls.pale(self.make.errors)
        self._pale_judgement()
        self._begin(DRAWING, self._looking(self.make.place, self.find.which.value or 0))

    def _pale_judgement(self) -> None:
        controls.pale(self.find.maps, self.find.filtered, self.find.numbers)

    def _begin(self, name: str, pieces: Pieces, after: float = 0.0) -> None:
        self._forget(name, SHOWING, FILES)
        self.status.begin(name)
        self.worker.start(name, pieces, after)

    def _making(self, settings: Settings) -> Pieces:
        session, make = self.session, self.make
        yield partial(controls.pale, make.errors)  # what was shown of the sweep while a ratio was dragged
        erring = session.decoders(settings)
        yield from self._until_stopped(DECODERS, session.train(erring, settings.steps))
        yield from self._showing(MEASURING, session.predict(erring))
        yield self._look
        yield make.show_ratios
        yield make.show_numbers
        yield partial(self.status.done, DECODERS, MEASURING)
        if DECODERS not in self.status.stopped:
            yield partial(self.prepare, settings)

    def prepare(self, settings: Settings) -> None:
        """Sweep through the ratios while nothing else is to be done, so that dragging has something to show."""
        if SWEEP not in self.status.shares:
            self.worker.start(SWEEP, self._preparing(settings), idle=True)

    def _preparing(self, settings: Settings) -> Pieces:
        for _ in self.session.sweep(settings):
            yield partial(self.make.show_known, settings)

    def _looking(self, place: int, which: int) -> Pieces:
        session, find = self.session, self.find
        session.predictions(place)
        yield partial(self.make.show_errors, place)
        yield partial(find.offer, session.names)
        judged = session.judge(place, min(which, len(session.erring)))
        yield partial(find.show_maps, judged)
        everywhere = yield from self._showing(MEASURING, session.measure(judged.judge))
        yield partial(find.show, replace(judged, everywhere=everywhere))
        yield partial(self.status.done, DRAWING, MEASURING)

    def _sweeping(self, settings: Settings) -> Pieces:
        shown = 0
        for share in self.session.sweep(settings):
            yield partial(self.status.show, SWEEP, share)
            if (known := len(self.session.points(settings))) > shown:
                shown, self.swept = known, settings
                yield partial(self.make.show_sweep, settings)
            if SWEEP in self.status.stopped:
                break
        yield partial(self.status.done, SWEEP)

    def _training_eln(self, settings: Settings, steps: int) -> Pieces:
        session, erring = self.session, self.session.decoders(settings)
        yield from self._until_stopped(ELN, session.train(erring, settings.steps))
        if not self.trained:
            yield from self._recording()
        yield from self._until_stopped(ELN, session.train_eln(steps, erring))
        yield from self._recording()
        yield partial(self.status.done, ELN, MEASURING)
        yield self._refresh

    def _resetting_eln(self) -> Pieces:
        self.session.learner.reset()
        yield partial(self.status.done, ELN)
        yield self._look

    def _recording(self) -> Pieces:
        """One more row of the table of trainings."""
        judged = yield from self._showing(MEASURING, self.session.find(0, 0))
        self.trained.append(judged)
        yield self.show_trainings

    def show_trainings(self) -> None:
        self.what.trainings.value = views.trainings(self.trained)

    def _until_stopped(self, name: str, work: Iterator[float]) -> Pieces:
        for share in work:
            yield partial(self.status.show, name, share)
            if name in self.status.stopped:
                return

    def _showing(self, name: str, work: Generator[float, None, Made]) -> Generator[Callable[[], None], None, Made]:
        """Pieces of work that show the share done; what the work returns."""
        while True:
            try:
                share = next(work)
            except StopIteration as end:
                return end.value
            yield partial(self.status.show, name, share)

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
