"""Panels in a grid with one legend, and what all figures share."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

LINES = [
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c6d31",
]  # after Okabe-Ito
WRONG = (213, 94, 0)
VOID = (190, 190, 190)
WIDTH = 2.3  # inches a panel


def array(values) -> np.ndarray:
    """NumPy array of a tensor on any device, or of anything array-like."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def canvas(rows: int = 1, columns: int = 1, **options) -> tuple[Figure, np.ndarray]:
    """Figure and `rows columns` axes; pyplot forgets it, so that a notebook does not show it twice."""
    figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def grid(panels: Sequence[Sequence[tuple | None]], legend: Sequence[Patch] = (), colorbar: str = "") -> Figure:
    """Pictures in rows and columns.

    Args:
        panels: rows of `(picture, title)` or None for an empty place. A picture is `H W 3` uint8, or `H W`
            float in 0..1, which is drawn in magma.
        legend: entries under the grid.
        colorbar: label of the 0..1 colours; empty for no colour bar.
    """
    aspects = [max(p[0].shape[0] / p[0].shape[1] for p in row if p) for row in panels]
    columns = max(len(row) for row in panels)
    width = WIDTH * columns + (0.6 if colorbar else 0)
    height = sum(0.3 + WIDTH * aspect for aspect in aspects)
    per_row = max(1, int(width / 1.25))
    figure, axes = canvas(
        len(panels),
        columns,
        figsize=(width, height + 0.22 * -(-len(legend) // per_row) + (0.15 if legend else 0)),
        height_ratios=aspects,
    )
    shown = None
    for row, row_axes in zip(panels, axes, strict=True):
        for axis, panel in zip_longest(row_axes, row):
            axis.set_axis_off()
            if panel:
                picture, title = panel
                drawn = axis.imshow(picture, cmap="magma", vmin=0, vmax=1, interpolation_stage="rgba")
                shown = drawn if picture.ndim == 2 else shown
                axis.set_title(title, fontsize=8.5)
    if colorbar and shown:
        figure.colorbar(shown, ax=axes, label=colorbar, shrink=min(1, 2 / len(panels)), aspect=30)
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=per_row, fontsize=8, frameon=False)
    return figure


def entry(name: str, color) -> Patch:
    """A legend entry of a 0..255 colour."""
    return Patch(facecolor=tuple(np.asarray(color) / 255), edgecolor="0.4", linewidth=0.5, label=name)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG at 110 dpi, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
