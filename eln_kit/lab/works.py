"""What the lab's controls set going: computing by the session, piece by piece, each with what it shows."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

from eln_kit.lab import controls, views
from eln_kit.lab.judging import Judged
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.settings import Settings

# As the status names work; what trains can be stopped.
DECODERS, SWEEP, ELN = "training decoders", "training at each ratio", "training ELN"
MEASURING, DRAWING = "measuring", "drawing"
Pieces = Generator[Callable[[], None], None, None]
Made = TypeVar("Made")


class Works:
    """Generators for a `Worker`; each tells the status when it is done.

    Attributes:
        swept: settings whose sweep is shown.
        trained: ELN before and after each training, and on what decoders that was.
    """

    def __init__(self, session: Session, status: controls.Status, make: MakeErrors, find: FindErrors, what: WhatIf):
        self.session, self.status, self.make, self.find, self.what = session, status, make, find, what
        self.swept: Settings | None = None
        self.trained: list[tuple[str, Judged]] = []

    def shows_sweep_of(self, settings: Settings) -> bool:
        return self.swept is not None and replace(self.swept, ratios=settings.ratios) == settings

    def make_decoders(self, settings: Settings) -> Pieces:
        session = self.session
        yield partial(controls.pale, self.make.errors)  # which may show what the sweep has near a ratio
        erring = session.decoders(settings)
        yield from self._until_stopped(DECODERS, session.train(erring, settings.steps))
        yield from self._showing(MEASURING, session.predict(erring))

    def describe_errors(self) -> Pieces:
        yield self.make.show_ratios
        yield self.make.show_numbers
        yield partial(self.status.done, DECODERS, MEASURING)

    def prepare(self, settings: Settings) -> Pieces:
        for _ in self.session.sweep(settings):
            yield partial(self.make.show_known, settings)

    def look(self, place: int, which: int) -> Pieces:
        session, find = self.session, self.find
        session.predictions(place)
        yield partial(self.make.show_errors, place)
        yield partial(find.offer, session.names)
        judged = session.judge(place, min(which, len(session.erring)))
        yield partial(find.show_maps, judged)
        everywhere = yield from self._showing(MEASURING, session.measure(judged.judge))
        yield partial(find.show, replace(judged, everywhere=everywhere))
        yield partial(self.status.done, DRAWING, MEASURING)

    def sweep(self, settings: Settings) -> Pieces:
        shown = 0
        for share in self.session.sweep(settings):
            yield partial(self.status.show, SWEEP, share)
            if (known := len(self.session.points(settings))) > shown:
                shown, self.swept = known, settings
                yield partial(self.make.show_sweep, settings)
            if SWEEP in self.status.stopped:
                break
        yield partial(self.status.done, SWEEP)

    def train_eln(self, settings: Settings, steps: int) -> Pieces:
        session, erring = self.session, self.session.decoders(settings)
        yield from self._until_stopped(ELN, session.train(erring, settings.steps))
        if not self.trained:
            yield from self._recording("")
        yield from self._until_stopped(ELN, session.train_eln(steps, erring))
        yield from self._recording("; ".join(session.names[1:]))
        yield partial(self.status.done, ELN, MEASURING)

    def reset_eln(self) -> Pieces:
        self.session.learner.reset()
        yield partial(self.status.done, ELN)

    def _recording(self, decoders: str) -> Pieces:
        """One more row of the table of trainings."""
        judged = yield from self._showing(MEASURING, self.session.find(0, 0))
        self.trained.append((decoders, judged))
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
