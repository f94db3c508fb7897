"""Widgets as the lab uses them: wide enough for their names, moved by the keyboard, wrapped where a row is full."""

import ipywidgets as w
from matplotlib.figure import Figure

from eln_kit import figures


def look() -> dict:
    """How every control looks; made anew for each, since one may be hidden."""
    return {"layout": w.Layout(width="410px"), "style": {"description_width": "130px"}}


def whole(name: str, value: int, low: int, high: int, step: int = 1) -> w.IntSlider:
    """A slider of whole numbers that acts when it is let go."""
    return w.IntSlider(value, low, high, step, description=name, continuous_update=False, **look())


def share(name: str, value: float, high: float) -> w.FloatSlider:
    return w.FloatSlider(value, min=0, max=high, step=0.05, description=name, continuous_update=False, **look())


def ratio(number: int, value: float) -> w.FloatLogSlider:
    """1 to 100, logarithmic."""
    options = {"base": 10, "min": 0, "max": 2, "step": 0.05, "readout_format": ".3g", "continuous_update": False}
    return w.FloatLogSlider(value, description=f"ratio of auxiliary {number}", **options, **look())


def button(name: str, act, icon: str = "") -> w.Button:
    made = w.Button(description=name, icon=icon, layout=w.Layout(width="auto"))
    made.on_click(lambda _: act())
    return made


def progress() -> w.FloatProgress:
    return w.FloatProgress(0, min=0, max=1, layout=w.Layout(width="330px"))


def row(*parts: w.Widget) -> w.HBox:
    return w.HBox(parts, layout=w.Layout(flex_flow="row wrap", align_items="center"))


class Picture(w.VBox):
    """A figure and its caption; the picture takes the room there is and is never blank in between."""

    def __init__(self, widest: int = 1100):
        wide = w.Layout(width="100%", max_width=f"{widest}px", height="auto", display="none")
        self.image, self.words = w.Image(format="png", layout=wide), w.HTML()
        super().__init__([self.image, self.words])

    def show(self, figure: Figure, caption: str) -> None:
        self.show_png(figures.drawn(figure), caption)

    def show_png(self, png: bytes, caption: str) -> None:
        self.image.value, self.words.value = png, caption
        self.image.layout.display = None
