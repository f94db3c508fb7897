"""Widgets as the lab uses them: as wide as their column, moved by the keyboard, with the pictures beside them."""

import math
from collections.abc import Callable
from html import escape

import ipywidgets as w
from matplotlib.figure import Figure

from eln_kit import figures
from eln_kit.lab.views import Under

READY = "ready"
DECODERS, SWEEP, ELN = "training decoders", "training at each ratio", "training ELN"  # as the status names work
MEASURING, DRAWING = "measuring", "drawing"
SHOWING, FILES = "showing", "files"  # what is done at once


def look() -> dict:
    """How every control looks; made anew for each, since one may be greyed."""
    return {"layout": w.Layout(width="auto", min_width="0"), "style": {"description_width": "85px"}}


def whole(name: str, value: int, low: int, high: int, step: int = 1) -> w.IntSlider:
    """A slider of whole numbers that acts when it is let go."""
    return w.IntSlider(value, low, high, step, description=name, continuous_update=False, **look())


def share(name: str, value: float, high: float) -> w.FloatSlider:
    return w.FloatSlider(value, min=0, max=high, step=0.05, description=name, continuous_update=False, **look())


def ratio(number: int, value: float) -> w.SelectionSlider:
    """1 to 100 in 40 equal factors, one of which gives way to `value`; acts while it is dragged."""
    ratios = [float(f"{10 ** (place / 20):.3g}") for place in range(41)]
    ratios[min(range(41), key=lambda place: abs(math.log(ratios[place] / value)))] = value
    options = [(f"{each:g}", each) for each in ratios]
    return w.SelectionSlider(options=options, value=value, description=f"ratio {number}", **look())


def button(name: str, act: Callable[[], None], icon: str = "") -> w.Button:
    made = w.Button(description=name, icon=icon, layout=w.Layout(width="auto"))
    made.on_click(lambda _: act())
    return made


def part(controls: list[w.Widget], pictures: list[w.Widget]) -> list[w.Widget]:
    """Controls that stay in view, beside what they change or, where the page is narrow, above it; see style.html."""
    return [w.Box(controls).add_class("eln-controls"), w.VBox(pictures).add_class("eln-pictures")]


def unseen(name: str, act: Callable[[str], None]) -> w.Text:
    """A field that the page's script writes into, see script.html."""
    field = w.Text(layout=w.Layout(display="none")).add_class(f"eln-{name}")
    field.observe(lambda change: act(change["new"]), "value")
    return field


def pale(*shown: w.DOMWidget) -> None:
    """Dim what does not match the controls any more."""
    for each in shown:
        each.add_class("eln-pale")


class Status(w.VBox):
    """What is being done and how far, and a button that stops what trains; `complaint`, above each part, says why work
    ended early: what it would have shown anew stays pale.

    Attributes:
        shares: name of work -> share done; what trains is named so.
        stopped: names of work that is to end.
        troubles: name of what failed -> why.
    """

    def __init__(self) -> None:
        self.shares: dict[str, float] = {}
        self.stopped: set[str] = set()
        self.troubles: dict[str, str] = {}
        self.bar, self.words = w.FloatProgress(0, min=0, max=1, layout=w.Layout(width="auto", flex="1")), w.HTML()
        self.stop, self.complaint = button("Stop", self._stop, "stop"), w.HTML()
        super().__init__([w.HBox([self.bar, self.stop]), self.words.add_class("eln-status")])
        self._tell()

    def begin(self, name: str) -> None:
        self.stopped.discard(name)
        self.show(name, 0.0)

    def show(self, name: str, share: float) -> None:
        self.shares[name] = share
        self._tell()

    def done(self, *names: str) -> None:
        for name in names:
            self.shares.pop(name, None)
        self._tell()

    def fail(self, name: str, why: str) -> None:
        """Work that ended early is not under way any more; until it is begun again, not all is well."""
        self.troubles[name] = why
        self.done(name, MEASURING)

    def forget(self, *names: str) -> None:
        """Troubles with what is begun anew."""
        for name in names:
            self.troubles.pop(name, None)
        self._tell()

    def _stop(self) -> None:
        self.stopped |= {name for name in self.shares if name.startswith("training")}

    def _tell(self) -> None:
        self.stop.disabled = not any(name.startswith("training") for name in self.shares)
        self.bar.value = min(self.shares.values(), default=0.0)
        under_way = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        failed = ", ".join(name for name in self.troubles if name != FILES)
        self.words.value = under_way or (f"failed: {failed}" if failed else READY)
        lines = "<br>".join(map(escape, self.troubles.values()))
        self.complaint.value = f'<span class="eln-complaint">{lines}</span>' if lines else ""


class Picture(w.VBox):
    """A figure and its caption; it is never blank in between, but pale until it matches the controls."""

    def __init__(self, name: str):
        self.image, self.words = w.Image(format="png", layout=w.Layout(display="none")), w.HTML()
        self.seen: tuple[Figure, Under | None] | None = None  # replaced at once, as the mouse may come in any thread
        super().__init__([self.image, self.words])
        self.add_class(f"eln-picture-{name}")

    def show(self, figure: Figure, caption: str, paper: str, under: Under | None = None) -> None:
        self.show_png(figures.drawn(figures.on_paper(figure, paper)), figure, caption, under)
        self.remove_class("eln-pale")

    def show_png(self, png: bytes, figure: Figure, caption: str, under: Under | None = None) -> None:
        self.image.value, self.words.value, self.seen = png, caption, (figure, under)
        self.image.layout.display = None

    def pixel(self, x: float, y: float) -> tuple[Under, int, int] | None:
        """What a picture shows at a place, in 0..1: all that is known there, row and column of the image."""
        figure, under = self.seen or (None, None)
        place = figures.pixel_at(figure, x, y) if figure and under else None
        return (under, *place) if under and place else None
