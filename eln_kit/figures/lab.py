"""Figures of the error lab: errors as they are made, and what a threshold keeps."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eln_kit.figures.curves import plain
from eln_kit.figures.grid import LINES, VOID, WRONG, array, canvas, entry, grid
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


def made_errors(image, truth, predictions, names, classes, colors) -> Figure:
    """One image, and for each decoder its prediction and where that is wrong.

    Args:
        predictions: masks `H W`, the main decoder's first.
        names: of the predictions.
    """
    panels = [(as_picture(image), "image"), (colorize(truth, colors), "truth")]
    for name, mask in zip(names, predictions, strict=True):
        errors = error_map(image, truth, mask), f"its errors: {error_rate(truth, mask):.1%}"
        panels += [(colorize(mask, colors), name), errors]
    rows = [panels[i : i + 4] for i in range(0, len(panels), 4)]
    legend = class_legend(classes, colors, [truth], wrong=True, predictions=predictions)
    return grid(rows, legend, letters=LETTERS)


def wrongness_maps(image, truth, prediction, trust: dict) -> Figure:
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
    figure, ((axis,),) = canvas(figsize=(4, 2.9))
    axis.plot(list(rates), list(rates.values()), color=LINES[0], marker="o", linewidth=1.4, label="auxiliary decoder")
    axis.axhline(main_rate, color=LINES[1], linestyle="--", linewidth=1, label=f"main decoder, {main_rate:.1%}")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    known = "" if np.isnan(correlation) else f"; rank correlation {correlation:.2f}"
    axis.set(xlabel="ratio", ylabel="wrong pixels", xlim=(0.9, 110), ylim=(0, 1), title=f"held-out images{known}")
    axis.title.set_fontsize(9)
    axis.legend(loc="upper left", frameon=False, fontsize=8)
    return plain(figure)


class Filtering:
    """What a threshold keeps of one prediction: drawn once, then only what moves with the threshold.

    Shown are the kept pseudo-labels; which of the kept and dropped pixels are right; and, over many images, precision
    against recall of the dropped pixels as a list of errors, and the error rate of the kept against their share.

    Args:
        image, truth, prediction: one image.
        trust: `H W`, probability of being right; pixels below the threshold are dropped.
        rankings: detector -> `eln_kit.evaluation.errors.Ranking` over many images; the first has the threshold's dot.
        classes, colors: as ever.
    """

    def __init__(self, image, truth, prediction, trust, rankings: dict, classes, colors):
        self.trust, self.ranking = array(trust), next(iter(rankings.values()))
        self.known = array(truth) != IGNORE
        self.right = array(truth) == array(prediction)
        self.labels = colorize(prediction, colors)
        self.stripes = striped(self.labels.copy(), np.ones_like(self.known))
        self.grey = np.repeat((0.5 * as_picture(image).mean(2, keepdims=True)).astype(np.uint8), 3, axis=2)
        self.figure, axes = canvas(2, 2, figsize=(8.6, 6.6), dpi=DPI, height_ratios=(1.25, 1))
        self._images(axes[0], class_legend(classes, colors, predictions=[prediction]))
        self._curves(axes[1], rankings)
        self._moving = [*self.shown, *(axis.title for axis in axes[0]), *self.dots]
        self._still = None

    def _images(self, axes, legend: list) -> None:
        self.shown = [axis.imshow(self.labels, interpolation="nearest") for axis in axes]
        for axis in axes:
            axis.set_axis_off()
            axis.set_title(" ", fontsize=LETTERS, y=1)  # a fixed place, whatever moves
        outcome = {"dropped, was wrong": CAUGHT, "dropped, was right": WASTED, "kept, but wrong": WRONG, "void": VOID}
        legend += [entry(name, color) for name, color in outcome.items()]
        self.figure.legend(handles=legend, loc="outside lower center", ncols=4, fontsize=10, frameon=False)

    def _curves(self, axes, rankings: dict) -> None:
        for color, (name, ranking) in zip(LINES, rankings.items(), strict=False):
            curve = ranking.curve()
            axes[0].plot(curve["recall"], curve["precision"], color=color, linewidth=1.3, label=name)
            axes[1].plot(
                curve["kept_share"], 1 - np.array(curve["kept_accuracy"]), color=color, linewidth=1.3, label=name
            )
        style = {
            "marker": "o",
            "markersize": 9,
            "color": LINES[0],
            "markeredgecolor": "black",
            "linestyle": "",
            "zorder": 3,
        }
        self.dots = [axis.plot([0], [0], **style)[0] for axis in axes]
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
        plain(self.figure)

    def at(self, threshold: float) -> Figure:
        """The figure at a threshold; the same object each time."""
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
        return self.figure

    def png(self, threshold: float) -> bytes:
        """The figure at a threshold as PNG; what does not move is drawn the first time only."""
        self.at(threshold)
        if self._still is None:
            self.agg = FigureCanvasAgg(self.figure)
            self.agg.draw()  # lays out, with titles and images in place
            self.figure.set_layout_engine("none")
            self._show(False)
            self.agg.draw()
            self._still = self.agg.copy_from_bbox(self.figure.bbox)
            self._show(True)
        self.agg.restore_region(self._still)
        for artist in self._moving:
            artist.draw(self.agg.get_renderer())
        return png(np.asarray(self.agg.buffer_rgba()))

    def _show(self, visible: bool) -> None:
        for artist in self._moving:
            artist.set_visible(visible)
