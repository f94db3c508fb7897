"""A figure on a screen: as PNG, on the page's own colour or on any, and which of its pixels is under the mouse."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

DPI = 110
ANY, GREY = "none", "0.47"  # paper of no colour, and letters that have a contrast of 4.3 or more on white and on #111
DARKEST = 0.15  # lightness of a line or letter below which it would be lost on dark paper


def drawn(figure: Figure) -> bytes:
    """A figure as PNG."""
    agg = FigureCanvasAgg(figure)
    figure.set_dpi(DPI)
    agg.draw()
    return png(np.asarray(agg.buffer_rgba()))


def png(picture: np.ndarray) -> bytes:
    """`H W 3` or `H W 4` uint8 as PNG, packed quickly rather than tightly; without alpha where it is opaque."""
    out = io.BytesIO()
    opaque = picture[..., 3:].min(initial=255) == 255
    Image.fromarray(picture[..., :3] if opaque else picture).save(out, "PNG", compress_level=1)
    return out.getvalue()


def on_paper(figure: Figure, paper: str = ANY) -> Figure:
    """The figure with the page's colour behind it; where that is dark, letters, axes and black lines become light.

    On `ANY` paper nothing is behind it, and they become a grey that can be read on a light and on a dark page.
    """
    if paper != ANY and (not is_color_like(paper) or np.mean(to_rgb(paper)) > 0.5):
        return figure
    ink, spine, line = (GREY, GREY, (0.5, 0.5, 0.5, 0.3)) if paper == ANY else ("0.9", "0.6", "0.25")
    figure.set_facecolor(paper)
    matrices = [text for axis in figure.axes if axis.images for text in axis.texts]  # on colours of their own
    for text in set(figure.findobj(Text)) - set(matrices):
        text.set_color(ink)
    for axis in figure.axes:
        axis.set_facecolor(paper)
        axis.tick_params(which="both", colors=ink, grid_color=line)
        axis.spines[:].set_color(spine)
        for curve in axis.get_lines():
            if np.mean(to_rgb(curve.get_markeredgecolor())) < DARKEST:
                curve.set_markeredgecolor(ink)
            if np.mean(to_rgb(curve.get_color())) < DARKEST:
                curve.set_color(ink)
    for legend in [*figure.legends, *(axis.get_legend() for axis in figure.axes)]:
        for patch in legend.findobj(Patch) if legend else ():
            patch.set_edgecolor(spine)
    return figure


def pixel_at(figure: Figure, x: float, y: float) -> tuple[int, int] | None:
    """Row and column of the picture that lies at a place of a drawn figure, in 0..1 from its left and upper edge."""
    pixel = figure.bbox.width * x, figure.bbox.height * (1 - y)
    for axis in figure.axes:
        if axis.images and axis.bbox.contains(*pixel):
            column, row = axis.transData.inverted().transform(pixel)
            return round(row), round(column)
    return None
