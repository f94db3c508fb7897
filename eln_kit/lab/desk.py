"""The lab with a person at it: controls, and the work beside them that they set going, piece by piece."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial, wraps
from html import escape

import ipywidgets as w
from IPython.display import display

from eln_kit.lab import controls, views
from eln_kit.lab.controls import DECODERS, DRAWING, ELN, FILES, MEASURING, SHOWING, SWEEP
from eln_kit.lab.judging import Judged
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings
from eln_kit.lab.worker import Worker
from eln_kit.paths import writing

PAUSE = 0.25  # seconds that a ratio has to rest before its decoder is trained
Pieces = Iterator[Callable[[], None]]  # of some work: after each, what shows that it is done


def answer(name: str) -> Callable:
    """What a control asks for, from whatever thread: never while something else is shown, and never a traceback."""

    def answering(method: Callable) -> Callable:
        @wraps(method)
        def at_once(self: "Desk", *given: object) -> None:
            self.worker.at_once(name, partial(method, self, *given))

        return at_once

    return answering


class Desk:
    """Three panels over one session.

    What a setting changes is trained under one name, what is looked at is shown under another, so that a look at
    another image or prediction never waits for a training: it shows the decoders and ELN as they are.

    Attributes:
        swept: settings without ratios whose sweep is shown.
        trained: ELN before and after each training, and on what decoders that was.
    """

    def __init__(self, session: Session):
        self.session, self.status = session, controls.Status()
        self.worker = Worker(self.status.fail)
        self.make = MakeErrors(session, self.status, self.refresh, self.drag, self.look, self.sweep)
        self.find = FindErrors(session, self.status, self.make.image, self.look, self.filter)
        acts = self.train_eln, self.reset_eln, self.write_params, self.save_pictures
        self.what = WhatIf(self.status, self.find.maps, *acts)
        self.pictures = {"errors": self.make.errors, "ratios": self.make.curves, "sweep": self.make.swept}
        self.pictures |= {"maps": self.find.maps, "filter": self.find.filtered}
        self.swept: Settings | None = None
        self.trained: list[tuple[str, Judged]] = []
        self.reading = w.HTML().add_class("eln-reading")
        ears = [controls.unseen("paper", self.follow), controls.unseen("mouse", self.read)]
        above = [w.HTML(views.STYLE + views.SCRIPT), *ears, self.status.complaint]
        panels: list[w.Box] = [self.make, self.find, self.what]
        self.parts = [
            w.VBox([*above, panel.add_class("eln-part"), self.reading]).add_class("eln-lab") for panel in panels
        ]

    def show(self, part: int) -> None:
        """One of the three panels, from 0; the first that is shown sets everything going."""
        display(self.parts[part])
        if self.make.drawn is None and not self.worker.busy():
            self.refresh()

    @answer(SHOWING)
    def follow(self, paper: str) -> None:
        """Draw everything anew on the page's colour."""
        if paper and paper != self.make.paper:
            self.make.paper = self.find.paper = paper
            if self.swept:
                self.make.show_sweep(self.swept)
            self.refresh()

    def read(self, mouse: str) -> None:
        """Say what lies under the mouse: `mouse` is a picture's name and a place in it, or empty; waits for nobody."""
        name, *place = mouse.split() or [""]
        pixel = self.pictures[name].pixel(*map(float, place)) if name in self.pictures else None
        self.reading.value = views.pixel(self.session, *pixel) if pixel else ""

    @answer(SHOWING)
    def refresh(self, after: float = 0.0) -> None:
        """Bring everything up to the controls, after some seconds; what is known already is not computed again."""
        make = self.make
        self._forget(*self.status.troubles)
        self.worker.stop(DRAWING)
        self.status.done(DRAWING)
        if SWEEP not in self.status.shares:
            self.worker.stop(SWEEP)  # that nobody waits for, of settings that may be old
        controls.pale(make.errors, make.numbers, make.curves)
        if replace(make.settings, ratios=()) != self.swept:
            controls.pale(make.swept)
        if self.find.which.value:
            self._pale_judgement()
        self._begin(DECODERS, self._making(make.settings), after)

    @answer(SHOWING)
    def drag(self, number: int) -> None:
        """Show what is known near a decoder's ratio, and train it at exactly that one when it rests."""
        self.refresh(PAUSE)
        self.make.show_dragged(number)

    @answer(SHOWING)
    def look(self) -> None:
        """Show another image or prediction, whatever trains."""
        controls.pale(self.make.errors)
        self._pale_judgement()
        self._begin(DRAWING, self._looking(self.make.place, self.find.which.value or 0))

    @answer(SHOWING)
    def filter(self) -> None:
        self.find.show_filtered()

    @answer(SHOWING)
    def sweep(self) -> None:
        self._begin(SWEEP, self._sweeping(self.make.settings))

    @answer(SHOWING)
    def train_eln(self) -> None:
        self._pale_judgement()
        self._begin(ELN, self._training_eln(self.make.settings, self.what.steps.value))

    @answer(SHOWING)
    def reset_eln(self) -> None:
        self._pale_judgement()
        self._begin(ELN, self._resetting_eln())

    @answer(FILES)
    def write_params(self) -> None:
        self._forget(FILES)
        params, threshold = self.session.params, self.find.threshold.value
        path = self.make.settings.write_params(params, threshold, self.what.name.value)
        words = f"Wrote {escape(str(path))}. Train with: eln-kit run params/{path.name}"
        self.what.kept.value = views.caption(words)

    @answer(FILES)
    def save_pictures(self) -> None:
        """Write the pictures as they are into the run folder."""
        self._forget(FILES)
        shown = {name: picture.image.value for name, picture in self.pictures.items() if picture.image.value}
        folder = self.session.experiment.folder / "error_lab"
        with writing(folder):
            folder.mkdir(exist_ok=True)
            for name, data in shown.items():
                (folder / f"{name}.png").write_bytes(data)
        words = f"Saved {', '.join(shown)} in {escape(str(folder))}." if shown else "Nothing is shown yet."
        self.what.kept.value = views.caption(words)

    def _forget(self, *names: str) -> None:
        """Troubles with what is begun anew."""
        self.status.forget(*names)
        self.what.kept.value = ""

    def _pale_judgement(self) -> None:
        controls.pale(self.find.maps, self.find.filtered, self.find.numbers)

    def _begin(self, name: str, pieces: Pieces, after: float = 0.0) -> None:
        self._forget(name, SHOWING, FILES)
        self.status.begin(name)
        self.worker.start(name, pieces, after)

    def _told(self, name: str, work: Iterator[float]) -> Pieces:
        """Work of the session, the share done shown by the status, until it is stopped there."""
        for share in work:
            yield partial(self.status.show, name, share)
            if name in self.status.stopped:
                return

    def _making(self, settings: Settings) -> Pieces:
        session = self.session
        yield partial(controls.pale, self.make.errors)  # which may show what the sweep has near a ratio
        erring = session.decoders(settings)
        yield from self._told(DECODERS, session.train(erring, settings.steps))
        yield from self._told(MEASURING, session.predict(erring))
        yield self.look
        yield self.make.show_ratios
        yield self.make.show_numbers
        yield partial(self.status.done, DECODERS, MEASURING)
        if DECODERS not in self.status.stopped:
            yield partial(self.prepare, settings)

    def prepare(self, settings: Settings) -> None:
        """Sweep through the ratios while nothing else is to be done, so that dragging has something to show."""
        if SWEEP not in self.status.shares:
            shown = (partial(self.make.show_known, settings) for _ in self.session.sweep(settings))
            self.worker.start(SWEEP, shown, idle=True)

    def _looking(self, place: int, which: int) -> Pieces:
        session, find = self.session, self.find
        session.predictions(place)
        yield partial(self.make.show_errors, place)
        yield partial(find.offer, session.names)
        judged = session.judge(place, min(which, len(session.erring)))
        yield partial(find.show_maps, judged)
        yield from self._told(MEASURING, session.measure(judged.judge))
        yield partial(find.show, session.measured(judged))
        yield partial(self.status.done, DRAWING, MEASURING)

    def _sweeping(self, settings: Settings) -> Pieces:
        known = 0
        for show_share in self._told(SWEEP, self.session.sweep(settings)):
            yield show_share
            if len(self.session.points(settings)) > known:
                known, self.swept = len(self.session.points(settings)), replace(settings, ratios=())
                yield partial(self.make.show_sweep, settings)
        yield partial(self.status.done, SWEEP)

    def _training_eln(self, settings: Settings, steps: int) -> Pieces:
        session, erring = self.session, self.session.decoders(settings)
        yield from self._told(ELN, session.train(erring, settings.steps))
        if not self.trained:
            yield from self._recording("")
        yield from self._told(ELN, session.train_eln(steps, erring))
        yield from self._recording("; ".join(session.names[1:]))
        yield partial(self.status.done, ELN, MEASURING)
        yield self.refresh

    def _recording(self, decoders: str) -> Pieces:
        """One more row of the table of trainings."""
        judged = self.session.judge(0, 0)
        yield from self._told(MEASURING, self.session.measure(judged.judge))
        self.trained.append((decoders, self.session.measured(judged)))
        yield partial(self.what.show_trainings, self.trained)

    def _resetting_eln(self) -> Pieces:
        self.session.learner.reset()
        yield partial(self.status.done, ELN)
        yield self.look

    def close(self) -> None:
        self.worker.close()
