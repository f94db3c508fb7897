"""Notebook 6: what a wanted precision keeps, and which images to label next; sliders where a person watches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from IPython.display import display
from matplotlib.figure import Figure

from eln_kit import figures, notebook
from eln_kit.audience import person_watches
from eln_kit.evaluation import promise
from eln_kit.evaluation.label import Labelling
from eln_kit.evaluation.model import load
from eln_kit.faults import DataError
from eln_kit.lab import controls
from eln_kit.paths import resolve

PRECISIONS, NUMBERS = (0.8, 0.9, 0.95), (2, 4, 8)


class Pool:
    """A folder of images labelled by a run, and what its validation images say of the trust."""

    def __init__(self, run: str, images: str, out: str):
        notebook.short_errors()
        self.model, self.out = load(run), resolve(out)
        level = int(np.ceil(self.model.params.semi_supervised.threshold * 255))
        levels = np.full(len(self.model.classes), level)
        self.labelling = Labelling(self.model, resolve(images), self.out, levels)
        list(self.labelling.run())
        self.rows = self.labelling.queue()
        self.counts = promise.held_out(self.model)
        print(f"{len(self.rows)} images labelled in {self.out}; {len(self.counts)} held-out labels")

    def promise(self) -> None:
        """What is kept at a precision, on the surest and the least sure image."""
        slider = controls.share("precision", PRECISIONS[-1], 0.99)
        _move(slider, PRECISIONS, self._kept, self.out / "6_label_next/precision")

    def label_next(self) -> None:
        """The first images of the queue."""
        slider = controls.whole("images", NUMBERS[-1], 1, min(24, len(self.rows)))
        _move(slider, NUMBERS, self._first, self.out / "6_label_next/images")

    def _kept(self, precision: float) -> Figure:
        try:
            level, said = promise.choose(self.counts, precision)[0], f"precision {precision:.2f}"
        except DataError:
            level, said = promise.NEVER, f"precision {precision:.2f} cannot be promised"
        shown = [self.labelling.read(self.rows[place]["account"]) for place in (-1, 0)]
        masks = [np.where(promise.levels_of(trust) >= level, mask, 255) for _, mask, trust in shown]
        return figures.predictions([image for image, *_ in shown], None, {said: masks}, *self._classes())

    def _first(self, number: int) -> Figure:
        shown = [self.labelling.read(row["account"]) for row in self.rows[:number]]
        images, masks, _ = zip(*shown, strict=True)
        titles = [f"{row['rank']}: {row['account']['error']:.0%} wrong?" for row in self.rows[:number]]
        return figures.contact_sheet(images, masks, *self._classes(), titles, laid="prediction")

    def _classes(self) -> tuple[list[str], np.ndarray]:
        return self.model.classes, self.model.colors


def _move(slider, settings: tuple, draw: Callable[..., Figure], place: Path) -> None:
    """The slider and the figure that moves with it; the same figure at fixed settings where nobody watches."""
    if not person_watches():
        for number, setting in enumerate(settings, 1):
            display(notebook.keep(draw(setting), place.with_name(f"{place.name}_{number}.png")))
        return
    picture = controls.Picture()
    slider.observe(lambda change: picture.show(draw(change.new), ""), "value")
    picture.show(draw(slider.value), "")
    display(controls.row(slider, picture))
