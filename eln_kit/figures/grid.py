"""Panels in a grid with one legend, and what all figures share."""

import sys
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike
from torch import Tensor

from eln_kit.figures.screen import DPI, on_paper

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
MANY = 30  # classes; of more a legend has the most frequent, and a matrix no numbers
LONGEST = 16  # inches that a figure's side takes for all classes
OTHER_SCRIPTS = [  # fonts for names that DejaVu Sans lacks letters of; those installed are asked in this order
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei"),
    *("WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"),
    *("Noto Sans CJK KR", "Malgun Gothic", "Noto Sans Devanagari", "Nirmala UI", "Noto Sans Thai", "Arial Unicode MS"),
]


Values = Tensor | np.ndarray  # an image, a mask, a map, colours, or several of them
Many = Sequence[Values] | Values


@cache
def choose_fonts() -> None:
    """Letters that the usual font lacks come from another, and those that none has are told by `save` alone.

    A `$` in a name is a dollar, whatever a person's own settings say.
    """
    plt.rcParams.update({"text.parse_math": False, "text.usetex": False})
    installed = set(font_manager.get_font_names())
    plt.rcParams["font.family"] += [name for name in OTHER_SCRIPTS if name in installed]
    warnings.filterwarnings("ignore", "Glyph .* missing from")


@cache
def tell_missing(letters: str) -> None:
    mend = "install one, such as Noto Sans CJK; until then they are boxes"
    print(f"no installed font has {letters}: {mend}", file=sys.stderr)


def array(values: object) -> np.ndarray:
    """NumPy array of a tensor on any device, or of anything array-like."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def canvas(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """Figure and `rows columns` axes; pyplot forgets it, so that a notebook does not show it twice."""
    choose_fonts()
    figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def grid(
    panels: Sequence[Sequence[tuple | None]], legend: Sequence[Patch] = (), colorbar: str = "", letters: float = 8.5
) -> Figure:
    """Pictures in rows and columns.

    Args:
        panels: rows of `(picture, title)` or None for an empty place. A picture is `H W 3` uint8, or `H W`
            float in 0..1, which is drawn in magma.
        legend: entries under the grid.
        colorbar: label of the 0..1 colours; empty for no colour bar.
        letters: size of titles, in points.
    """
    aspects = [max(p[0].shape[0] / p[0].shape[1] for p in row if p) for row in panels]
    columns = max(len(row) for row in panels)
    width = WIDTH * columns + (0.6 if colorbar else 0)
    height = sum(0.3 + WIDTH * aspect for aspect in aspects)
    per_row = max(1, int(width / (0.15 * letters)))
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
                axis.set_title(title, fontsize=letters)
    if colorbar and shown:
        figure.colorbar(
            shown, ax=axes, label=colorbar, shrink=min(1, 2 / len(panels)), aspect=30, format=PercentFormatter(1)
        )
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=per_row, fontsize=letters - 0.5, frameon=False)
    return figure


def entry(name: str, color: ArrayLike) -> Patch:
    """A legend entry of a 0..255 colour."""
    return Patch(facecolor=tuple(np.asarray(color) / 255), edgecolor="0.4", linewidth=0.5, label=name)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a PNG at 110 dpi that light and dark pages bear, making its folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        on_paper(figure).savefig(path, dpi=DPI)
    messages = [str(warning.message) for warning in caught]
    letters = {chr(int(message.split()[1])) for message in messages if message.startswith("Glyph")}
    if letters and not tell_missing.cache_info().misses:  # once a notebook, not in each figure
        tell_missing("".join(sorted(letters)))
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return path


def for_classes(count: int, each: float) -> tuple[float, float]:
    """Inches for `count` classes of `each` inches, `LONGEST` at most, and the size of letters that fit, in points."""
    total = min(count * each, LONGEST)
    return total, min(10, 54 * total / count)
