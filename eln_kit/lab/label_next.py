"""Notebook 6: what a wanted precision keeps, and which images to label next; sliders where a person watches."""

from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.figure import Figure

from eln_kit import figures, notebook
from eln_kit.faults import DataError
from eln_kit.paths import resolve
from eln_kit.store.experiment import reopen
from eln_kit.tools import promise
from eln_kit.tools.label import Labelling
from eln_kit.tools.model import levels_of, load

PRECISIONS, NUMBERS = (0.8, 0.9, 0.95), (2, 4, 8)


class Pool:
    """Images labelled by a run, and what its validation images say of the trust.

    `images` is a folder; empty, the run's unlabelled images. What is made lies in `out`; empty, in the run folder.
    """

    def __init__(self, run: str, images: str = "", out: str = ""):
        notebook.short_errors()
        pool = resolve(images) if images else reopen(resolve(run)).split.unlabeled
        if not pool:
            raise DataError(f"{run}: has no unlabelled images; set images to a folder of your own")
        self.model, self.out = load(run), resolve(out or f"{run}/labelled")
        self.labelling = Labelling(self.model, pool, self.out)
        self.labelling.run()
        if not (rows := self.labelling.queue()):
            raise DataError(f"{images or run}: none of its images can be read")
        self.rows = rows
        self.counts, self.groups = promise.held_out(self.model)
        print(f"{len(self.rows)} images labelled in {self.out}; {len(self.counts)} held-out labels")

    def promise(self) -> None:
        """What is kept at a precision, on the surest and the least sure image."""
        self._choose(self._kept, "precision", PRECISIONS, [*np.arange(50, 100, 5) / 100, 0.98, 0.99])

    def label_next(self) -> None:
        """The first images of the queue."""
        most = min(24, len(self.rows))
        self._choose(self._first, "images", sorted({min(number, most) for number in NUMBERS}), range(1, most + 1))

    def _choose(self, draw: Callable[..., Figure], name: str, settings: Iterable, values: Iterable) -> None:
        folder = self.out / "6_label_next"
        kept = {folder / f"{name}_{number}.png": {name: value} for number, value in enumerate(settings, 1)}
        notebook.choose(draw, kept, **{name: {f"{value:g}": value for value in values}})

    def _kept(self, precision: float) -> Figure:
        try:
            level, said = promise.choose(self.counts, precision, groups=self.groups)[0], f"precision {precision:.2f}"
        except DataError:
            level, said = promise.NEVER, f"precision {precision:.2f} cannot be promised"
        shown = [self.labelling.read(self.rows[place]["account"]) for place in (-1, 0)]
        masks = [np.where(levels_of(trust) >= level, mask, 255) for _, mask, trust in shown]
        return figures.predictions([image for image, *_ in shown], None, {said: masks}, *self._classes())

    def _first(self, images: int) -> Figure:
        shown = [self.labelling.read(row["account"]) for row in self.rows[:images]]
        pictures, masks, _ = zip(*shown, strict=True)
        titles = [f"{row['rank']}: trust {1 - row['account']['error']:.0%}" for row in self.rows[:images]]
        return figures.contact_sheet(pictures, masks, *self._classes(), titles, laid="prediction")

    def _classes(self) -> tuple[list[str], np.ndarray]:
        return self.model.classes, self.model.colors
