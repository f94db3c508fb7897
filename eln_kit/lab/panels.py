"""The lab's three parts as controls and pictures. What they show is made by `views`, what they do by `session`."""

import ipywidgets as w

from eln_kit import figures
from eln_kit.figures import Filtering
from eln_kit.lab import controls, views
from eln_kit.lab.judging import Judged
from eln_kit.lab.session import MAIN, Session
from eln_kit.lab.settings import Settings

DECODERS = 4


class MakeErrors(w.Box):
    """Part 1: how many auxiliary decoders, how bad, and what else makes them err."""

    paper = "white"

    def __init__(self, session: Session, status: controls.Status, changed, moved, sweep):
        knobs, images = session.params.error_localization, len(session.held)
        ratios = [*knobs.ratios[:DECODERS], 10.0, 20.0, 50.0, 100.0][:DECODERS]
        self.session = session
        self.count = controls.whole("auxiliary decoders", min(max(len(knobs.ratios), 1), DECODERS), 1, DECODERS)
        self.ratios = [controls.ratio(number, min(value, 100)) for number, value in enumerate(ratios, 1)]
        self.steps = controls.whole("training steps", Settings.steps, 10, 400, 10)
        self.noise = controls.share("noise on features", knobs.noise, 5)
        self.dropout = controls.share("dropped channels", knobs.dropout, 0.9)
        self.image = controls.whole("image", 1, 1, images)
        self.errors, self.curves = controls.Picture("errors"), controls.Picture("ratios", 720)
        self.swept, self.numbers = controls.Picture("sweep", 300), w.HTML()
        settings = [self.count, *self.ratios, self.steps, self.noise, self.dropout]
        self.count.observe(self._offer, "value")
        self._offer()
        for control in settings:
            control.observe(changed, "value")
        self.image.observe(moved, "value")
        go = controls.button("Error rate by ratio", sweep, "line-chart")
        column = [self.image, *settings, status, go, self.swept]
        super().__init__(controls.part(column, [self.errors, self.numbers, self.curves]))

    def _offer(self, _=None) -> None:
        """As many ratios as there are decoders can be moved; all keep their places."""
        for number, each in enumerate(self.ratios, 1):
            each.disabled = number > self.count.value

    @property
    def settings(self) -> Settings:
        ratios = tuple(float(f"{each.value:.3g}") for each in self.ratios[: self.count.value])
        return Settings(ratios, self.steps.value, round(self.noise.value, 2), round(self.dropout.value, 2))

    @property
    def place(self) -> int:
        return self.image.value - 1

    def show_errors(self, place: int) -> None:
        said = dict(zip(self.session.names, self.session.predictions(place), strict=True))
        self.errors.show(*views.errors(self.session, place), self.paper, (place, said, {}))

    def show_numbers(self) -> None:
        self.numbers.value = views.numbers(self.session)

    def show_ratios(self) -> None:
        self.curves.show(*views.ratios(self.session), self.paper)

    def show_sweep(self, settings: Settings, rates: dict[float, float]) -> None:
        self.swept.show(*views.sweep(self.session, settings, rates), self.paper)


class FindErrors(w.Box):
    """Part 2: ELN beside plain scores, and what a threshold on ELN keeps."""

    paper = "white"

    def __init__(self, session: Session, status: controls.Status, image: w.IntSlider, moved):
        self.session = session
        self.filtering: Filtering | None = None
        self.which = w.Dropdown(options=[(MAIN, 0)], description="prediction of", **controls.look())
        self.which.observe(moved, "value")
        start = session.params.semi_supervised.threshold
        options = {"min": 0, "max": 1, "step": 0.01, "description": "threshold", "continuous_update": True}
        self.threshold = w.FloatSlider(start, **options, **controls.look())
        self.threshold.observe(self._moved, "value")
        self.maps, self.filtered, self.numbers = controls.Picture("maps"), controls.Picture("filter", 950), w.HTML()
        column = [image, self.which, self.threshold, self.numbers, status]
        super().__init__(controls.part(column, [self.maps, self.filtered]))

    def offer(self, names: list[str]) -> None:
        """The predictions there are now; a change of their names alone changes nothing."""
        chosen = min(self.which.value or 0, len(names) - 1)
        options = tuple((name, place) for place, name in enumerate(names))
        if options != self.which.options:
            self.which.options = options
            self.which.value = chosen

    def show_maps(self, judged: Judged) -> None:
        self.maps.show(*views.maps(self.session, judged), self.paper, _under(judged))

    def show(self, judged: Judged) -> None:
        """A new image, prediction or ELN; the threshold stays."""
        self.judged, self.filtering = judged, views.filtering(self.session, judged)
        figures.on_paper(self.filtering.figure, self.paper)
        self._moved()

    def _moved(self, _=None) -> None:
        if self.filtering is not None:
            threshold = round(self.threshold.value, 2)
            png = self.filtering.png(threshold)
            words = views.caption(views.FILTER_CAPTION)
            self.filtered.show_png(png, self.filtering.figure, words, _under(self.judged))
            self.numbers.value = views.filter_numbers(threshold, self.judged)


def _under(judged: Judged) -> views.Under:
    return judged.place, {judged.judge.name: judged.prediction}, judged.trust


class WhatIf(w.Box):
    """Part 3: ELN trained further on these errors, and what is worth keeping."""

    def __init__(self, status: controls.Status, maps: controls.Picture, train, write, save):
        self.steps = controls.whole("steps", 20, 5, 500, 5)
        self.name = w.Text("my_lab", description="params/", **controls.look())
        kept = [controls.button("Write params file", write, "file"), controls.button("Save pictures", save, "image")]
        self.learnt, self.kept = w.HTML(), w.HTML()
        go = controls.button("Train ELN", train, "play")
        super().__init__(
            controls.part([self.steps, go, status, self.name, w.HBox(kept), self.kept], [self.learnt, maps])
        )
