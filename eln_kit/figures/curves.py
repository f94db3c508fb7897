"""Figures of numbers: class shares, training curves, and what an evaluation measured."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eln_kit.figures.grid import LINES, MANY, Values, array, canvas, for_classes

WORDS = {  # names in metrics.jsonl that are not words
    "main": "main decoder, on labels",
    "auxiliary": "auxiliary decoders",
    "eln": "ELN",
    "weak": "pseudo-labels, weak view",
    "strong": "pseudo-labels, strong view",
    "strong_2": "pseudo-labels, second strong view",
    "contrast_weak": "contrast, weak view",
    "contrast_strong": "contrast, strong view",
    "kept_share": "pixels kept",
    "kept_accuracy": "right among them",
    "miou": "mIoU",
    "held_out_miou": "mIoU, held-out images",
}
SHARES = ("kept_share", "kept_accuracy", "miou", "held_out_miou")  # in percent; all else is a loss


def class_shares(
    counts_labeled: Values, counts_unlabeled: Values | None, classes: Sequence[str], colors: Values
) -> Figure:
    """Each class's share of the pixels in labelled images and, where given, in unlabelled ones.

    Args:
        counts_labeled: C pixel counts
        counts_unlabeled: C pixel counts, or None when nobody knows
    """
    sets = {"labelled": counts_labeled, "unlabelled": counts_unlabeled}
    shares = {name: array(c) / max(array(c).sum(), 1) for name, c in sets.items() if c is not None}
    height, letters = for_classes(len(classes), 0.24 + 0.14 * len(shares))
    figure, ((axis,),) = canvas(figsize=(6.5, 1.1 + height))
    thick = 0.8 / len(shares)
    face = np.asarray(colors) / 255
    for i, (name, share) in enumerate(shares.items()):
        style = {"edgecolor": "0.2", "linewidth": 0.6, "hatch": "////" if i else ""}
        places = np.arange(len(classes)) + thick * (i - (len(shares) - 1) / 2)
        axis.barh(places, share, thick, color=0.5 + 0.5 * face if i else face, **style)
        axis.barh([0], [0], color="white", label=name, **style)
        for row, value in zip(places, share, strict=True):
            axis.annotate(
                f"{100 * value:.2g}%",
                (value, row),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=min(7, letters / len(shares)),
            )
    positive = np.concatenate(list(shares.values()))
    positive = positive[positive > 0]
    if positive.size and positive.max() > 50 * positive.min():
        axis.set_xscale("log")
        axis.set_xlim(positive.min() / 2, 2.5)
    else:
        axis.margins(x=0.1)
    axis.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axis.set(yticks=range(len(classes)), xlabel="share of pixels")
    axis.set_yticklabels(classes, fontsize=letters)
    axis.set_ylim(len(classes) - 0.4, -0.6)
    if len(shares) > 1:
        figure.legend(loc="outside upper right", ncols=2, frameon=False)
    return plain(figure)


def loss_curves(records: list[dict], names: list[str], title: str = "") -> Figure:
    """A small plot a loss, or a share, against the step; a loss that falls by more than a factor of 20 logarithmic.

    Args:
        records: lines of metrics.jsonl, each with `step` and some of the names
        names: which to draw; those that no record has are left out
    """
    names = [name for name in names if any(name in record for record in records)]
    columns = min(len(names), 3) or 1
    rows = -(-len(names) // columns) or 1
    figure, axes = canvas(rows, columns, figsize=(2.9 * columns + 0.4, 2.1 * rows + 0.4), sharex=True)
    for axis, name in zip(axes.flat, names, strict=False):
        steps, values = _series(records, name)
        axis.plot(steps, values, color=LINES[0], linewidth=1.2)
        axis.set_title(WORDS.get(name, name.replace("_", " ")), fontsize=9)
        if name in SHARES:
            _in_percent(axis, whole=name == "kept_share")
            continue
        axis.set_ylabel("loss", fontsize=8)
        if _spans(values, 20):
            axis.set_yscale("log")
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis in axes.flat[max(len(names) - columns, 0) : len(names)]:
        axis.set_xlabel("step")
        axis.xaxis.set_tick_params(labelbottom=True)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.suptitle(title)
    return plain(figure)


def ratio_curves(records: list[dict], ratios: list[float]) -> Figure:
    """Auxiliary loss over main loss against the step; a decoder rests while it is under its dashed ratio.

    Args:
        records: lines of metrics.jsonl with `step` and `ratio/1`, `ratio/2`, ...
        ratios: K loss ratios
    """
    figure, ((axis,),) = canvas(figsize=(6.5, 3.4))
    for k, ratio in enumerate(ratios, 1):
        color = LINES[(k - 1) % len(LINES)]
        axis.plot(*_series(records, f"ratio/{k}"), color=color, linewidth=1.2, label=f"auxiliary {k}")
        axis.axhline(ratio, color=color, linestyle="--", linewidth=1, label=f"its ratio, {ratio:g}")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set(xlabel="step", ylabel="loss / main decoder's loss")
    if ratios:
        figure.legend(loc="outside right upper", frameon=False)
    return plain(figure)


def confusion(matrix: Values, classes: Sequence[str]) -> Figure:
    """Where each true class's pixels went, in percent of the row: coloured, and up to `MANY` classes with its numbers.

    Args:
        matrix: `C C` pixel counts, rows truth, columns prediction; the row of an absent class is grey
    """
    matrix = array(matrix).astype(float)
    totals = matrix.sum(1, keepdims=True)
    share = 100 * np.divide(matrix, totals, out=np.full_like(matrix, np.nan), where=totals > 0)
    side, letters = for_classes(len(classes), 0.42)
    figure, ((axis,),) = canvas(figsize=(side + 3.3, side + 2.4))
    rows = [f"{c} (absent)" if not total else c for c, total in zip(classes, totals, strict=True)]
    shown = axis.imshow(share, vmin=0, vmax=100, cmap="cividis", interpolation="nearest", aspect="auto")
    figure.colorbar(shown, ax=axis, label="percent of the true class", shrink=0.8)
    axis.set_xticks(range(len(classes)), classes, fontsize=letters, rotation=0 if len(classes) < 4 else 90)
    axis.set_yticks(range(len(classes)), rows, fontsize=letters)
    axis.set_facecolor("0.9")
    axis.set(xlabel="predicted", ylabel="true")
    for (y, x), value in np.ndenumerate(share) if len(classes) <= MANY else ():
        if np.isfinite(value):
            size, color = 10 if len(classes) < 9 else 7, "white" if value < 45 else "0.15"
            axis.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=size, color=color)
    return figure


def iou_bars(ious: dict[str, list[float]], classes: Sequence[str]) -> Figure:
    """Each class's IoU by predictor, and each one's mean as a line.

    Args:
        ious: `{name: C values in 0..1}`; NaN where a class is absent, which the mean leaves out
    """
    width, letters = for_classes(len(classes), 0.2 + 0.16 * len(ious))
    width = max(6.5, 1.5 + width)
    figure, ((axis,),) = canvas(figsize=(width, 3.8))
    wide = 0.82 / len(ious)
    for i, (name, given) in enumerate(ious.items()):
        values, color = array(given).astype(float), LINES[i % len(LINES)]
        mean = np.nanmean(values) if np.isfinite(values).any() else np.nan
        places = np.arange(len(classes)) + wide * (i - (len(ious) - 1) / 2)
        axis.bar(places, np.nan_to_num(values), wide, color=color, label=f"{name}, mean {mean:.1%}")
        axis.axhline(mean, color=color, linestyle="--", linewidth=1)
        for column in places[np.isnan(values)]:
            style = {"fontsize": min(7, letters), "color": "0.3"}
            axis.text(column, 0.01, "absent", rotation=90, ha="center", va="bottom", **style)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(ylabel="IoU", xlim=(-0.6, len(classes) - 0.4), ylim=(0, 1), xticks=range(len(classes)))
    axis.set_xticklabels(classes, rotation=0 if len(classes) < 8 else 60, ha="center" if len(classes) < 8 else "right")
    axis.tick_params(axis="x", labelsize=letters)
    longest = 0.08 * max(map(len, ious)) + 1.6  # inches of an entry
    figure.legend(loc="outside upper center", ncols=max(1, int(width / longest)), frameon=False)
    return plain(figure)


def error_detection(curves: dict[str, dict]) -> Figure:
    """Precision against recall of wrong pixels, and the error rate that blind guessing reaches.

    Args:
        curves: `{name: {"recall", "precision", "aupr", "error_rate"}}`, two arrays and two floats in 0..1
    """
    figure, ((axis,),) = canvas(figsize=(6.6, 3.8))
    for i, (name, curve) in enumerate(curves.items()):
        label = f"{name.partition(':')[0]}, AUPR {curve['aupr']:.3f}"
        axis.plot(
            array(curve["recall"]),
            array(curve["precision"]),
            color=LINES[i % len(LINES)],
            label=label,
            linewidth=1.4,
        )
    for rate in sorted({round(curve["error_rate"], 3) for curve in curves.values()}):
        axis.axhline(rate, color="0.5", linestyle="--", linewidth=1, label=f"error rate, {rate:.1%}")
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(xlabel="recall of errors", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(loc="upper right", frameon=False, fontsize=8)  # where precision is low
    return plain(figure)


def _series(records: list[dict], name: str) -> tuple[list[int], np.ndarray]:
    pairs = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    return [step for step, _ in pairs], np.array([value for _, value in pairs], float)


def _spans(values: np.ndarray, factor: float) -> bool:
    positive = values[np.isfinite(values) & (values > 0)]
    return positive.size == np.isfinite(values).sum() > 0 and positive.max() > factor * positive.min()


def _in_percent(axis: Axes, whole: bool) -> None:
    """A share on the vertical axis: from 0 to 100 % where `whole`, else at least ten points of it, not noise alone."""
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    low, high = axis.get_ylim()
    middle, half = (low + high) / 2, max(high - low, 0.1) / 2
    axis.set_ylim(*(-0.02, 1.02) if whole else (middle - half, middle + half))


def plain(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure
