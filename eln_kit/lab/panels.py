"""The lab's three parts as controls and pictures. What they show is made by `views`, what they do by `session`."""

import ipywidgets as w

from eln_kit.figures import Filtering
from eln_kit.lab import controls, views
from eln_kit.lab.session import MAIN, Judged, Session
from eln_kit.lab.settings import Settings

DECODERS = 4


class MakeErrors(w.VBox):
    """Part 1: how many auxiliary decoders, how bad, and what else makes them err."""

    def __init__(self, session: Session, changed, sweep, stop):
        knobs, images = session.params.error_localization, len(session.held)
        ratios = [*knobs.ratios[:DECODERS], 10.0, 20.0, 50.0, 100.0][:DECODERS]
        self.session = session
        self.count = controls.whole("auxiliary decoders", min(max(len(knobs.ratios), 1), DECODERS), 1, DECODERS)
        self.ratios = [controls.ratio(number, min(value, 100)) for number, value in enumerate(ratios, 1)]
        self.steps = controls.whole("training steps", Settings.steps, 10, 400, 10)
        self.noise = controls.share("noise on features", knobs.noise, 5)
        self.dropout = controls.share("dropped channels", knobs.dropout, 0.9)
        self.image = controls.whole("image", 1, 1, images)
        self.progress = controls.progress()
        self.errors, self.curves, self.swept = controls.Picture(), controls.Picture(720), controls.Picture(720)
        self.numbers = w.HTML()
        moved = [self.count, *self.ratios, self.steps, self.noise, self.dropout, self.image]
        for control in moved:
            control.observe(changed, "value")
        self.count.observe(self._offer, "value")
        self._offer()
        self.stop = controls.button("Stop", stop, "stop")
        self.stop.disabled = True
        go = controls.row(controls.button("Error rate by ratio", sweep, "line-chart"), self.stop, self.progress)
        pictures = [self.errors, self.numbers, self.curves, self.swept]
        super().__init__([controls.row(*moved), go, *pictures])

    def _offer(self, _=None) -> None:
        """Show as many ratios as there are decoders."""
        for number, each in enumerate(self.ratios, 1):
            each.layout.display = None if number <= self.count.value else "none"

    @property
    def settings(self) -> Settings:
        ratios = tuple(float(f"{each.value:.3g}") for each in self.ratios[: self.count.value])
        return Settings(ratios, self.steps.value, round(self.noise.value, 2), round(self.dropout.value, 2))

    @property
    def place(self) -> int:
        return self.image.value - 1

    def done(self, share: float) -> None:
        self.progress.value = share

    def show_errors(self, place: int) -> None:
        self.errors.show(*views.errors(self.session, place))

    def show_numbers(self) -> None:
        self.numbers.value = views.numbers(self.session)

    def show_ratios(self) -> None:
        self.curves.show(*views.ratios(self.session))

    def show_sweep(self, settings: Settings, rates: dict[float, float]) -> None:
        self.swept.show(*views.sweep(self.session, settings, rates))


class FindErrors(w.VBox):
    """Part 2: ELN beside plain scores, and what a threshold on ELN keeps."""

    def __init__(self, session: Session, changed):
        self.session = session
        self.filtering: Filtering | None = None
        self.which = w.Dropdown(options=[(MAIN, 0)], description="prediction of", **controls.look())
        self.which.observe(changed, "value")
        start = session.params.semi_supervised.threshold
        options = {"min": 0, "max": 1, "step": 0.01, "description": "threshold", "continuous_update": True}
        self.threshold = w.FloatSlider(start, **options, **controls.look())
        self.threshold.observe(self._moved, "value")
        self.maps, self.filtered, self.numbers = controls.Picture(), controls.Picture(950), w.HTML()
        super().__init__([self.which, self.maps, self.threshold, self.numbers, self.filtered])

    def offer(self, names: list[str]) -> None:
        """The predictions there are now; a change of their names alone changes nothing."""
        chosen = min(self.which.value or 0, len(names) - 1)
        options = tuple((name, place) for place, name in enumerate(names))
        if options != self.which.options:
            self.which.options = options
            self.which.value = chosen

    def show(self, judged: Judged) -> None:
        """A new image, prediction or ELN; the threshold stays."""
        self.judged, self.filtering = judged, views.filtering(self.session, judged)
        self._moved()
        self.maps.show(*views.maps(self.session, judged))

    def _moved(self, _=None) -> None:
        if self.filtering is not None:
            threshold = round(self.threshold.value, 2)
            self.filtered.show_png(self.filtering.png(threshold), views.caption(views.FILTER_CAPTION))
            self.numbers.value = views.filter_numbers(threshold, self.judged)


class WhatIf(w.VBox):
    """Part 3: ELN trained further on these errors, and what is worth keeping."""

    def __init__(self, train, stop, write, save):
        self.steps = controls.whole("steps", 20, 5, 500, 5)
        self.progress = controls.progress()
        self.name = w.Text("my_lab", description="params/", **controls.look())
        self.stop = controls.button("Stop", stop, "stop")
        self.stop.disabled = True
        learn = controls.row(self.steps, controls.button("Train ELN", train, "play"), self.stop, self.progress)
        kept = [controls.button("Write params file", write, "file"), controls.button("Save pictures", save, "image")]
        self.learnt, self.kept = w.HTML(), w.HTML()
        super().__init__([learn, self.learnt, controls.row(self.name, *kept), self.kept])

    def done(self, share: float) -> None:
        self.progress.value = share
        self.stop.disabled = share >= 1
