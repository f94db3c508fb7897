"""The lab with a person at it: controls wired to work that goes on beside them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from html import escape

import ipywidgets as w
from IPython.display import display

from eln_kit.faults import ParamsError
from eln_kit.lab import controls, views
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.worker import Worker

# As the status names work; what trains can be stopped.
DECODERS, SWEEP, ELN, MEASURING = "training decoders", "training at each ratio", "training ELN", "measuring"


class Desk:
    """Three panels over one session.

    What a setting changes is trained under one name, what is looked at is shown under another, so that a look at
    another image or prediction never waits for a training: it shows the decoders and ELN as they are.
    """

    def __init__(self, session: Session):
        self.session, self.worker, self.status = session, Worker(self.failed), controls.Status()
        self.make = MakeErrors(session, self.status, self.refresh, self.look, self.sweep)
        self.find = FindErrors(session, self.status, self.make.image, self.look)
        self.what = WhatIf(self.status, self.find.maps, self.train_eln, self.write_params, self.save_pictures)
        self.rates: tuple = ()  # the last sweep's settings and error rates
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
        if not self.worker.tasks:
            self.refresh()

    def follow(self, paper: str) -> None:
        """Draw everything anew on the page's colour."""
        if paper and paper != self.make.paper:
            self.make.paper = self.find.paper = paper
            if self.rates:
                self.make.show_sweep(*self.rates)
            self.refresh()

    def read(self, mouse: str) -> None:
        """Say what lies under the mouse: `mouse` is a picture's name and a place in it, or empty."""
        name, *place = mouse.split() or [""]
        picture = {"errors": self.make.errors, "maps": self.find.maps, "filter": self.find.filtered}.get(name)
        pixel = picture.pixel(*map(float, place)) if picture else None
        under = picture.under if picture else None
        self.reading.value = views.pixel(self.session, under, *pixel) if under and pixel else ""

    def complain(self, line: str) -> None:
        """One line above each part, until something else is asked for."""
        for words in self.complaints:
            words.value = f'<span class="eln-complaint">{escape(line)}</span>' if line else ""
        self.what.kept.value = ""

    def failed(self, line: str) -> None:
        """Say why work ended early."""
        self.complain(line)
        self.status.done()

    def refresh(self, _=None) -> None:
        """Bring everything up to the controls; what is known already is not computed again."""
        self.worker.stop("look")
        self._begin(DECODERS, self._make(self.make.settings))

    def look(self, _=None) -> None:
        """Show another image or prediction, whatever trains."""
        self.complain("")
        self.worker.start("look", self._look(self.make.place, self.find.which.value or 0))

    def sweep(self) -> None:
        self._begin(SWEEP, self._sweep(self.make.settings))

    def train_eln(self) -> None:
        self._begin(ELN, self._train_eln(self.make.settings, self.what.steps.value))

    def _begin(self, name: str, pieces: Iterator[Callable[[], None]]) -> None:
        self.complain("")
        self.status.begin(name)
        self.worker.start(name, pieces)

    def _make(self, settings):
        session, make = self.session, self.make
        erring = session.decoders(settings)
        yield from self._until_stopped(DECODERS, session.train(erring, settings.steps))
        yield from self._showing(MEASURING, session.predict(erring))
        yield partial(self.status.done, DECODERS, MEASURING)
        yield self.look
        yield make.show_ratios
        yield make.show_numbers

    def _look(self, place, which):
        session, find = self.session, self.find
        session.predictions(place)
        yield partial(self.make.show_errors, place)
        yield partial(find.offer, session.names)
        judged = session.judge(place, min(which, len(session.erring)))
        yield partial(find.show_maps, judged)
        rankings = yield from self._showing(MEASURING, session.rank(judged.judge))
        yield partial(find.show, replace(judged, rankings=rankings))
        yield partial(self.status.done, MEASURING)

    def _sweep(self, settings):
        known = 0
        for share, rates in self.session.sweep(settings):
            yield partial(self.status.show, SWEEP, share)
            if len(rates) > known:
                known, self.rates = len(rates), (settings, rates)
                yield partial(self.make.show_sweep, *self.rates)
            if SWEEP in self.status.stopped:
                break
        yield partial(self.status.done, SWEEP)

    def _train_eln(self, settings, steps):
        session, erring = self.session, self.session.decoders(settings)
        yield from self._until_stopped(ELN, session.train(erring, settings.steps))
        before = yield from self._showing(MEASURING, session.find(0, 0))
        yield from self._until_stopped(ELN, session.train_eln(steps, erring))
        after = yield from self._showing(MEASURING, session.find(0, 0))
        yield partial(setattr, self.what.learnt, "value", views.learnt(before, after))
        yield partial(self.status.done, ELN, MEASURING)
        yield self.refresh

    def _until_stopped(self, name: str, work: Iterator[float]):
        for share in work:
            yield partial(self.status.show, name, share)
            if name in self.status.stopped:
                return

    def _showing(self, name: str, work):
        """Pieces of work that show the share done; what the work returns."""
        while True:
            try:
                share = next(work)
            except StopIteration as end:
                return end.value
            yield partial(self.status.show, name, share)

    def write_params(self) -> None:
        self.complain("")
        try:
            params, threshold = self.session.params, self.find.threshold.value
            path = self.make.settings.write_params(params, threshold, self.what.name.value)
            words = f"Wrote {escape(str(path))}. Train with: eln-kit run params/{path.name}"
            self.what.kept.value = views.caption(words)
        except ParamsError as error:
            self.complain(str(error))

    def save_pictures(self) -> None:
        """Write the pictures as they are into the run folder."""
        self.complain("")
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
            self.complain(f"{folder}: cannot be written ({error.strerror})")

    def close(self) -> None:
        """Stop all work."""
        for name in list(self.worker.tasks):
            self.worker.stop(name)
