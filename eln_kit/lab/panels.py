"""The lab's three parts as controls and pictures. What they show is made by `views`, what they do by `session`."""

from collections.abc import Callable

import ipywidgets as w

from eln_kit import figures
from eln_kit.lab import controls, views
from eln_kit.lab.erring import RATIOS, nearest
from eln_kit.lab.figures import Filtering, MadeErrors
from eln_kit.lab.judging import Judged
from eln_kit.lab.session import MAIN, Session
from eln_kit.lab.settings import Settings

DECODERS = 4

Act = Callable[[], None]


class MakeErrors(w.Box):
    """Part 1: how many auxiliary decoders, how bad, and what else makes them err.

    Args:
        changed: called where decoders are to be trained; `dragged` with the number of the one whose ratio moves.
        moved: called where another image is to be shown, `sweep` where a decoder is at each ratio.
    """

    paper = "white"

    def __init__(
        self,
        session: Session,
        status: controls.Status,
        changed: Act,
        dragged: Callable[[int], None],
        moved: Act,
        sweep: Act,
    ):
        knobs, images = session.params.error_localization, len(session.held)
        ratios = [*knobs.ratios[:DECODERS], 10.0, 20.0, 50.0, 100.0][:DECODERS]
        self.session = session
        self.drawn: MadeErrors | None = None
        self.count = controls.whole("decoders", min(max(len(knobs.ratios), 1), DECODERS), 1, DECODERS)
        self.ratios = [controls.ratio(number, min(max(value, 1.0), 100.0)) for number, value in enumerate(ratios, 1)]
        self.steps = controls.whole("steps", Settings.steps, 10, 400, 10)
        self.noise = controls.share("noise", knobs.noise, 5)
        self.dropout = controls.share("dropped", knobs.dropout, 0.9)
        self.image = controls.whole("image", 1, 1, images)
        self.errors, self.curves = controls.Picture("errors"), controls.Picture("ratios")
        self.swept, self.numbers = controls.Picture("sweep"), w.HTML()
        settings = [self.count, *self.ratios, self.steps, self.noise, self.dropout]
        self.count.observe(self._offer, "value")
        self._offer()
        for number, each in enumerate(self.ratios, 1):
            each.observe(lambda _, number=number: dragged(number), "value")
        for each in (self.count, self.steps, self.noise, self.dropout):
            each.observe(lambda _: changed(), "value")
        self.image.observe(lambda _: moved(), "value")
        self.go = controls.button("Error rate by ratio", sweep, "line-chart")
        column = [w.VBox([self.image, *settings]).add_class("eln-sliders"), w.VBox([status, self.go, self.swept])]
        super().__init__(controls.part(column, [self.errors, self.numbers, self.curves]))

    def _offer(self, _: object = None) -> None:
        """As many ratios as there are decoders can be moved; all keep their places."""
        for number, each in enumerate(self.ratios, 1):
            each.disabled = number > self.count.value

    @property
    def settings(self) -> Settings:
        ratios = tuple(each.value for each in self.ratios[: self.count.value])
        return Settings(ratios, self.steps.value, round(self.noise.value, 2), round(self.dropout.value, 2))

    @property
    def place(self) -> int:
        return self.image.value - 1

    def show_errors(self, place: int) -> None:
        self.drawn, words = views.errors(self.session, place)
        figures.on_paper(self.drawn.figure, self.paper)
        self.shown_place = place
        self.said = list(self.session.predictions(place).items())
        self._show_errors(self.drawn, words)

    def show_dragged(self, number: int) -> None:
        """The errors known nearest to a decoder's ratio, in place of its own, on the image that is shown."""
        points = self.session.points(self.settings)
        ratio = nearest(points, self.ratios[number - 1].value)
        if ratio is None or self.drawn is None or number >= len(self.said):
            return
        name, words = views.dragged(number, ratio, points[ratio])
        self.said[number] = name, points[ratio].masks[self.shown_place]
        self._show_errors(self.drawn.change(number, *self.said[number]), words)

    def _show_errors(self, drawn: MadeErrors, words: str) -> None:
        self.errors.show_png(drawn.png(), drawn.figure, words, (self.shown_place, dict(self.said), {}))
        self.errors.remove_class("eln-pale")
        (self.errors.add_class if len(self.said) > 3 else self.errors.remove_class)("eln-tall")

    def show_numbers(self) -> None:
        self.numbers.value = views.numbers(self.session)
        self.numbers.remove_class("eln-pale")

    def show_ratios(self) -> None:
        self.curves.show(*views.ratios(self.session), self.paper)

    def show_known(self, settings: Settings) -> None:
        """How many ratios dragging can show."""
        self.go.description = f"Error rate by ratio ({len(self.session.points(settings))} of {len(RATIOS)} known)"

    def show_sweep(self, settings: Settings) -> None:
        self.show_known(settings)
        figure, _ = views.sweep(self.session, settings)
        self.swept.show(figure, "", self.paper)


class FindErrors(w.Box):
    """Part 2: ELN beside plain scores, and what a threshold on ELN keeps."""

    paper = "white"

    def __init__(self, session: Session, status: controls.Status, image: w.IntSlider, moved: Act, filtered: Act):
        self.session = session
        self.filtering: Filtering | None = None
        self.which = w.Dropdown(options=[(MAIN, 0)], description="prediction of", **controls.look())
        self.which.observe(lambda _: moved(), "value")
        start = session.params.semi_supervised.threshold
        options = {"min": 0, "max": 1, "step": 0.01, "description": "threshold", "continuous_update": True}
        self.threshold = w.FloatSlider(start, **options, **controls.look())
        self.threshold.observe(lambda _: filtered(), "value")
        self.maps, self.filtered, self.numbers = controls.Picture("maps"), controls.Picture("filter"), w.HTML()
        column = [w.VBox([image, self.which, self.threshold]).add_class("eln-sliders"), w.VBox([status, self.numbers])]
        super().__init__(controls.part(column, [self.maps, self.filtered]))

    def offer(self, names: list[str]) -> None:
        """The predictions there are now; a change of their names alone changes nothing."""
        chosen = min(self.which.value or 0, len(names) - 1)
        options = tuple((name, place) for place, name in enumerate(names))
        if options != self.which.options:
            self.which.options = options
            self.which.value = chosen

    def show_maps(self, judged: Judged) -> None:
        figure, words = views.maps(self.session, judged)
        self.maps.show(figure, words, self.paper, _under(judged))

    def show(self, judged: Judged) -> None:
        """A new image, prediction or ELN; the threshold stays."""
        self.judged, self.filtering = judged, views.filtering(self.session, judged)
        figures.on_paper(self.filtering.figure, self.paper)
        self.show_filtered()
        for each in (self.filtered, self.numbers):
            each.remove_class("eln-pale")

    def show_filtered(self) -> None:
        if self.filtering is not None:
            threshold = round(self.threshold.value, 2)
            png = self.filtering.at(threshold).png()
            words = views.caption(views.FILTER_CAPTION)
            self.filtered.show_png(png, self.filtering.figure, words, _under(self.judged))
            self.numbers.value = views.filter_numbers(threshold, self.judged)


def _under(judged: Judged) -> views.Under:
    return judged.place, {judged.judge.name: judged.prediction}, judged.trust


class WhatIf(w.Box):
    """Part 3: ELN trained further on these errors, and what is worth keeping."""

    def __init__(self, status: controls.Status, maps: controls.Picture, train: Act, reset: Act, write: Act, save: Act):
        self.steps = controls.whole("steps", 20, 5, 500, 5)
        self.name = w.Text("my_lab", description="params/", **controls.look())
        learn = [controls.button("Train ELN", train, "play"), controls.button("Reset ELN", reset, "undo")]
        kept = [controls.button("Write params file", write, "file"), controls.button("Save pictures", save, "image")]
        self.trainings, self.kept = w.HTML(), w.HTML()
        left, right = w.VBox([self.steps, w.HBox(learn), status]), w.VBox([self.name, w.HBox(kept), self.kept])
        super().__init__(controls.part([left, right], [self.trainings, maps]))

    def show_trainings(self, trained: list[tuple[str, Judged]]) -> None:
        self.trainings.value = views.trainings(trained)
