"""The lab with a person at it: controls wired to work that goes on beside them."""

from functools import partial
from html import escape

import ipywidgets as w
from IPython.display import display

from eln_kit.faults import ParamsError
from eln_kit.lab import views
from eln_kit.lab.panels import FindErrors, MakeErrors, WhatIf
from eln_kit.lab.session import Session
from eln_kit.lab.worker import Worker


class Desk:
    """Three panels over one session."""

    def __init__(self, session: Session):
        self.session, self.worker = session, Worker(self.failed)
        self.make = MakeErrors(session, self.refresh, self.sweep, self.stop_sweep)
        self.find = FindErrors(session, self.refresh)
        self.what = WhatIf(self.train_eln, self.stop_eln, self.write_params, self.save_pictures)
        self.complaints = [w.HTML() for _ in range(3)]
        parts = zip((self.make, self.find, self.what), self.complaints, strict=True)
        self.parts = [w.VBox([w.HTML(views.STYLE), words, part]).add_class("eln-lab") for part, words in parts]

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

    def complain(self, line: str) -> None:
        """One line above each part, until something else is asked for."""
        for words in self.complaints:
            words.value = f'<span style="color: #b00">{escape(line)}</span>' if line else ""
        self.what.kept.value = ""

    def failed(self, line: str) -> None:
        """Say why work ended early."""
        self.complain(line)
        self.make.done(1.0)
        self.make.stop.disabled = True
        self.what.done(1.0)

    def refresh(self, _=None) -> None:
        """Bring everything up to the controls; what is known already is not computed again."""
        self.complain("")
        self.worker.start("look", self._look(self.make.settings, self.make.place, self.find.which.value or 0))

    def _look(self, settings, place, which):
        make, find, session = self.make, self.find, self.session
        yield from _showing(make.done, session.make_errors(settings))
        yield partial(make.show_errors, place)
        yield make.show_ratios
        yield make.show_numbers
        judged = yield from _showing(make.done, session.find(place, min(which, len(settings.ratios))))
        yield partial(find.offer, session.names)
        yield partial(find.show, judged)
        yield partial(make.done, 1.0)

    def sweep(self) -> None:
        self.complain("")
        self.make.stop.disabled = False
        self.worker.start("sweep", self._sweep(self.make.settings))

    def stop_sweep(self) -> None:
        self.worker.stop("sweep")
        self.make.stop.disabled = True
        self.make.done(1.0)

    def _sweep(self, settings):
        shown = 0
        for share, rates in self.session.sweep(settings):
            yield partial(self.make.done, share)
            if len(rates) > shown:
                shown = len(rates)
                yield partial(self.make.show_sweep, settings, rates)
        yield self.stop_sweep

    def train_eln(self) -> None:
        self.complain("")
        self.stopped = False
        self.worker.start("eln", self._train_eln(self.make.settings, self.what.steps.value))

    def stop_eln(self) -> None:
        self.stopped = True

    def _train_eln(self, settings, steps):
        session, what = self.session, self.what
        yield partial(what.done, 0.0)
        erring = yield from _showing(self.make.done, session.make_errors(settings))
        before = yield from _showing(self.make.done, session.find(0, 0))
        for share in session.train_eln(steps, erring):
            yield partial(what.done, 0.99 * share)
            if self.stopped:
                break
        after = yield from _showing(self.make.done, session.find(0, 0))
        yield partial(setattr, what.learnt, "value", views.learnt(before, after))
        yield partial(what.done, 1.0)
        yield self.refresh

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


def _showing(show, work):
    """Pieces of work that show the share done; what the work returns."""
    while True:
        try:
            share = next(work)
        except StopIteration as end:
            return end.value
        yield partial(show, share)
