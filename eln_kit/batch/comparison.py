"""Figures of several runs: what `compare` tables hold, a point a seed."""

import pandas
import seaborn
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eln_kit.figures.curves import in_percent, matrix_of_percent, plain
from eln_kit.figures.grid import LINES, canvas, for_classes

STYLES = ["-", "--", ":", "-."]


def scores(table: pandas.DataFrame, row: str, measures: dict[str, str], hue: str | None = None) -> Figure:
    """A panel a measure: every seed as a dot, the mean as a bar, rows in the order of the first measure's mean.

    Args:
        table: a row a run; `row` and `hue` are columns of names.
        measures: column -> label of its axis.
    """
    order = table.groupby(row)[next(iter(measures))].mean().sort_values(ascending=False).index
    hues = table[hue].nunique() if hue else 1
    size = (3.1 * len(measures) + 2.4, 0.9 + (0.16 + 0.14 * hues) * len(order) + (0.3 if hues > 1 else 0))
    figure, axes = canvas(1, len(measures), figsize=size, sharey=True)
    for axis, (measure, label) in zip(axes[0], measures.items(), strict=True):
        shared = {"data": table, "y": row, "x": measure, "order": order, "hue": hue, "ax": axis, "legend": hues > 1}
        shared["palette"] = LINES[:hues] if hue else None
        apart = 0.8 * (1 - 1 / hues)  # as stripplot spreads its hues
        seaborn.stripplot(**shared, size=4, alpha=0.7, jitter=False, dodge=hues > 1)
        shared["legend"] = False
        seaborn.pointplot(**shared, marker="|", markersize=12, linestyle="none", errorbar=None, dodge=apart or False)
        axis.set(xlabel=label, ylabel="")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    legend = [axis.get_legend() for axis in axes[0] if axis.get_legend()]
    if legend:
        handles, names = axes[0][0].get_legend_handles_labels()
        figure.legend(handles[:hues], names[:hues], loc="outside upper center", ncols=hues, frameon=False)
    for each in legend:
        each.remove()
    return plain(figure)


def risk_coverage(curves: pandas.DataFrame, detectors: list[str], title: str = "") -> Figure:
    """The share of errors among the most trusted pixels, the mean over the seeds.

    Args:
        curves: `detector coverage risk`, a row a point.
    """
    figure, ((axis,),) = canvas(figsize=(7.4, 3.8))
    for number, name in enumerate(detectors):
        seaborn.lineplot(
            curves[curves.detector == name],
            x="coverage",
            y="risk",
            errorbar=None,
            color=LINES[number % len(LINES)],
            linestyle=STYLES[number // len(LINES) % len(STYLES)],
            label=name,
            legend=False,
            ax=axis,
        )
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    figure.suptitle(title)
    axis.set(xlabel="pixels kept, the most trusted first", ylabel="wrong among them", xlim=(0, 1), ylim=(0, None))
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return plain(figure)


def parts(table: pandas.DataFrame, row: str, columns: list[str], label: str) -> Figure:
    """Means over the seeds as a coloured table, in percent: rows by `row`, in the table's order.

    Args:
        table: a row a run, values in 0..1 in `columns`.
    """
    means = 100 * table.groupby(row, sort=False)[columns].mean()
    width, letters = for_classes(len(columns), 0.62)
    size = (width + 0.09 * max(map(len, means.index)) + 1.6, 0.3 * len(means) + 1.5)
    figure, ((axis,),) = canvas(figsize=size)
    matrix_of_percent(axis, means.to_numpy(), list(means.index), columns, letters, label)
    axis.tick_params(axis="x", rotation=60)
    return figure


def pseudo_labels(table: pandas.DataFrame) -> Figure:
    """The share of pixels that the filter keeps and how many of them are right, against stage 3's step.

    Args:
        table: `method step kept_share kept_accuracy`, a row a seed and step.
    """
    figure, axes = canvas(1, 2, figsize=(9.4, 3.4), sharex=True)
    for axis, (column, label) in zip(
        axes[0], {"kept_share": "pixels kept", "kept_accuracy": "right among them"}.items(), strict=True
    ):
        seaborn.lineplot(
            table, x="step", y=column, hue="method", errorbar="sd", ax=axis, palette=LINES[: table.method.nunique()]
        )
        in_percent(axis, whole=column == "kept_share")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set(ylabel=label)
    handles, names = axes[0][0].get_legend_handles_labels()
    for axis in axes[0]:
        axis.get_legend().remove()
    figure.legend(handles, names, loc="outside right upper", frameon=False, fontsize=8)
    return plain(figure)
