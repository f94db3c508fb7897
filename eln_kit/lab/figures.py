"""Figures of the error lab: errors as they are made, and what a threshold keeps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eln_kit.evaluation.measures import Ranking
from eln_kit.figures.curves import plain
from eln_kit.figures.grid import LINES, VOID, WRONG, Values, array, canvas, entry, grid
from eln_kit.figures.images import (
    IGNORE,
    as_map,
    as_picture,
    class_legend,
    colorize,
    error_map,
    error_rate,
    share_of,
    striped,
)
from eln_kit.figures.screen import DPI, png

CAUGHT = (86, 180, 233)  # dropped and wrong
WASTED = (240, 228, 66)  # dropped and right
LETTERS = 11  # points: the lab's pictures are often shown smaller than they are


class Moving:
    """A figure of which only some artists ever change: all else is drawn once.

    Args:
        figure: as it will be shown.
        artists: of it; their places stay.
    """

    def __init__(self, figure: Figure, artists: list[Artist]):
        self.figure, self.artists = figure, artists
        self.still: Any = None

    def png(self) -> bytes:
        if self.still is None:
            self._draw_still()
        self.agg.restore_region(self.still)
        for artist in self.artists:
            artist.draw(self.agg.get_renderer())
        return png(np.asarray(self.agg.buffer_rgba()))

    def _draw_still(self) -> None:
        self.figure.set_dpi(DPI)
        self.agg = FigureCanvasAgg(self.figure)
        self.figure.draw_without_rendering()  # lays out, with all artists in place
        self.figure.set_layout_engine("none")
        for visible in (False, True):
            for artist in self.artists:
                artist.set_visible(visible)
            if not visible:
                self.agg.draw()
                self.still = self.agg.copy_from_bbox(self.figure.bbox)


class MadeErrors(Moving):
    """One image, and for each decoder its prediction and where that is wrong; the decoders' panels may change.

    Args:
        predictions: masks `H W` by name, the main decoder's first.
    """

    def __init__(
        self, image: Values, truth: Values, predictions: Mapping[str, Values], classes: Sequence[str], colors: Values
    ):
        self.image, self.truth, self.colors = image, truth, colors
        panels = [(as_picture(image), "image"), (colorize(truth, colors), "truth")]
        for name, mask in predictions.items():
            panels += self._panels(name, mask)
        rows = [panels[i : i + 4] for i in range(0, len(panels), 4)]
        legend = class_legend(classes, colors, [truth], wrong=True, predictions=[*predictions.values()])
        figure = grid(rows, legend, letters=LETTERS)
        changing = figure.axes[4 : len(panels)]  # after image, truth, and the main decoder's
        for axis in changing:
            axis.set_title(axis.get_title(), fontsize=LETTERS, y=1)  # a fixed place, whatever moves
        super().__init__(figure, [artist for axis in changing for artist in (axis.images[0], axis.title)])

    def change(self, number: int, name: str, mask: Values) -> "MadeErrors":
        """With another mask `H W` and name for the auxiliary decoder of a number, from 1."""
        first = 2 + 2 * number
        for axis, (picture, title) in zip(self.figure.axes[first : first + 2], self._panels(name, mask), strict=True):
            axis.images[0].set_data(picture)
            axis.set_title(title, fontsize=LETTERS, y=1)
        return self

    def _panels(self, name: str, mask: Values) -> list[tuple[np.ndarray, str]]:
        errors = error_map(self.image, self.truth, mask), f"its errors: {error_rate(self.truth, mask):.1%}"
        return [(colorize(mask, self.colors), name), errors]


def wrongness_maps(image: Values, truth: Values, prediction: Values, trust: Mapping[str, Values]) -> Figure:
    """A prediction's true errors, and each detector's wrongness, all on one scale.

    Args:
        trust: detector -> probability of being right, `H W`; 1 minus it is shown.
    """
    row = [(error_map(image, truth, prediction), f"true errors: {error_rate(truth, prediction):.1%}")]
    row += [(as_map(1 - array(each)), name) for name, each in trust.items()]
    return grid([row], [entry("wrong", WRONG), entry("void", VOID)], "wrongness", LETTERS)


def ratio_sweep(rates: dict[float, float], main_rate: float, correlation: float) -> Figure:
    """Error rate on held-out images by the ratio of an auxiliary decoder.

    Args:
        rates: ratio -> error rate in 0..1.
        main_rate: the main decoder's.
        correlation: Spearman's, of ratio and error rate; NaN while unknown.
    """
    figure, ((axis,),) = canvas(figsize=(2.8, 1.7))
    axis.plot(list(rates), list(rates.values()), color=LINES[0], marker="o", linewidth=1.4)
    axis.axhline(main_rate, color=LINES[1], linestyle="--", linewidth=1)
    axis.text(100, main_rate + 0.02, f"main decoder, {main_rate:.1%}", ha="right", va="bottom", fontsize=7.5)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    known = "" if np.isnan(correlation) else f"; rank correlation {correlation:.2f}"
    axis.set(xlabel="ratio", ylabel="wrong pixels", xlim=(0.9, 110), ylim=(0, 1), title=f"held-out images{known}")
    for words in (axis.title, axis.xaxis.label, axis.yaxis.label):
        words.set_fontsize(8)
    axis.tick_params(labelsize=8)
    return plain(figure)


class Filtering(Moving):
    """What a threshold keeps of one prediction.

    Shown are the kept pseudo-labels; which of the kept and dropped pixels are right; and, over many images, precision
    against recall of the dropped pixels as a list of errors, and the error rate of the kept against their share.

    Args:
        image, truth, prediction: one image.
        trust: `H W`, probability of being right; pixels below the threshold are dropped.
        rankings: detector -> `eln_kit.evaluation.measures.Ranking` over many images; the first has the threshold's dot.
        classes, colors: as ever.
    """

    def __init__(
        self,
        image: Values,
        truth: Values,
        prediction: Values,
        trust: Values,
        rankings: dict[str, Ranking],
        classes: Sequence[str],
        colors: Values,
    ):
        self.trust, self.ranking = array(trust), next(iter(rankings.values()))
        self.known = array(truth) != IGNORE
        self.right = array(truth) == array(prediction)
        self.labels = colorize(prediction, colors)
        self.stripes = striped(self.labels.copy(), np.ones_like(self.known))
        self.grey = np.repeat((0.5 * as_picture(image).mean(2, keepdims=True)).astype(np.uint8), 3, axis=2)
        figure, axes = canvas(2, 2, figsize=(8.6, 6.6), dpi=DPI, height_ratios=(1.25, 1))
        self._images(figure, axes[0], class_legend(classes, colors, predictions=[prediction]))
        self._curves(axes[1], rankings)
        plain(figure)
        super().__init__(figure, [*self.shown, *(axis.title for axis in axes[0]), *self.dots])

    def _images(self, figure: Figure, axes: np.ndarray, legend: list) -> None:
        self.shown = [axis.imshow(self.labels, interpolation="nearest") for axis in axes]
        for axis in axes:
            axis.set_axis_off()
            axis.set_title(" ", fontsize=LETTERS, y=1)  # a fixed place, whatever moves
        outcome = {"dropped, was wrong": CAUGHT, "dropped, was right": WASTED, "kept, but wrong": WRONG, "void": VOID}
        legend += [entry(name, color) for name, color in outcome.items()]
        figure.legend(handles=legend, loc="outside lower center", ncols=4, fontsize=10, frameon=False)

    def _curves(self, axes: np.ndarray, rankings: dict[str, Ranking]) -> None:
        for color, (name, ranking) in zip(LINES, rankings.items(), strict=False):
            curve, style = ranking.curve(), {"color": color, "linewidth": 1.3, "label": name}
            axes[0].plot(curve["recall"], curve["precision"], **style)
            axes[1].plot(curve["kept_share"], 1 - np.array(curve["kept_accuracy"]), **style)
        dot = {"marker": "o", "markersize": 9, "markeredgecolor": "black", "linestyle": "", "zorder": 3}
        self.dots = [axis.plot([0], [0], color=LINES[0], **dot)[0] for axis in axes]
        axes[0].set(xlabel="recall of errors", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.02))
        axes[1].set(xlabel="pixels kept (coverage)", ylabel="wrong among them (risk)", xlim=(-0.02, 1.02))
        axes[1].set_ylim(bottom=0)
        axes[0].legend(frameon=False, fontsize=9)
        for axis in axes:
            axis.xaxis.set_major_formatter(PercentFormatter(1))
            axis.yaxis.set_major_formatter(PercentFormatter(1))
            axis.tick_params(labelsize=9)
            axis.xaxis.label.set_fontsize(10)
            axis.yaxis.label.set_fontsize(10)

    def at(self, threshold: float) -> "Filtering":
        """As it is at a threshold."""
        keep = self.trust >= np.float32(threshold)
        self.shown[0].set_data(np.where(keep[..., None], self.labels, self.stripes))
        outcome = self.grey.copy()
        outcome[~keep & ~self.right] = CAUGHT
        outcome[~keep & self.right] = WASTED
        outcome[keep & ~self.right] = WRONG
        outcome[~self.known] = VOID
        self.shown[1].set_data(outcome)
        kept = keep[self.known]
        self.shown[0].axes.set_title(f"kept at {threshold:.2f}: {share_of(kept):.1%} of this image", fontsize=LETTERS)
        right = self.right[self.known & keep]
        words = f"{share_of(right):.1%} of the kept are right" if right.size else "nothing is kept"
        self.shown[1].axes.set_title(words, fontsize=LETTERS)
        now = self.ranking.at(threshold)
        self.dots[0].set_data([now["recall"]], [now["precision"]])
        self.dots[1].set_data([now["kept_share"]], [1 - now["kept_accuracy"]])
        return self
