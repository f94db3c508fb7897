"""Widgets as the lab uses them: as wide as their column, moved by the keyboard, with the pictures beside them."""

import ipywidgets as w
from matplotlib.figure import Figure

from eln_kit import figures
from eln_kit.lab.views import Under


def look() -> dict:
    """How every control looks; made anew for each, since one may be greyed."""
    return {"layout": w.Layout(width="300px"), "style": {"description_width": "125px"}}


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


def part(controls: list[w.Widget], pictures: list[w.Widget]) -> list[w.Widget]:
    """Controls that stay in view, in a column where the page is wide enough, and what they change."""
    return [w.VBox(controls).add_class("eln-controls"), w.VBox(pictures).add_class("eln-pictures")]


def unseen(name: str, act) -> w.Text:
    """A field that the page's script writes into, see script.html."""
    field = w.Text(layout=w.Layout(display="none")).add_class(f"eln-{name}")
    field.observe(lambda change: act(change["new"]), "value")
    return field


class Status(w.VBox):
    """What is being done and how far, and a button that stops what trains; `stopped` has the names of such work."""

    def __init__(self):
        self.shares: dict[str, float] = {}
        self.stopped: set[str] = set()
        self.bar, self.words = w.FloatProgress(0, min=0, max=1, layout=w.Layout(width="215px")), w.HTML()
        self.stop = button("Stop", self._stop, "stop")
        super().__init__([w.HBox([self.bar, self.stop]), self.words])
        self._tell()

    def begin(self, name: str) -> None:
        self.stopped.discard(name)
        self.show(name, 0.0)

    def show(self, name: str, share: float) -> None:
        self.shares[name] = share
        self._tell()

    def done(self, *names: str) -> None:
        for name in names or [*self.shares]:
            self.shares.pop(name, None)
        self._tell()

    def _stop(self) -> None:
        self.stopped |= self.shares.keys()

    def _tell(self) -> None:
        self.stop.disabled = not any(name.startswith("training") for name in self.shares)
        self.bar.value = min(self.shares.values(), default=0.0)
        self.words.value = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items()) or "ready"


class Picture(w.VBox):
    """A figure and its caption; the picture takes the room there is and is never blank in between."""

    def __init__(self, name: str, widest: int = 1300):
        wide = w.Layout(width="100%", max_width=f"{widest}px", height="auto", display="none")
        self.image, self.words = w.Image(format="png", layout=wide), w.HTML()
        self.figure: Figure | None = None
        self.under: Under | None = None  # the mouse
        super().__init__([self.image, self.words])
        self.add_class(f"eln-picture-{name}")

    def show(self, figure: Figure, caption: str, paper: str, under: Under | None = None) -> None:
        self.show_png(figures.drawn(figures.on_paper(figure, paper)), figure, caption, under)

    def show_png(self, png: bytes, figure: Figure, caption: str, under: Under | None = None) -> None:
        self.image.value, self.words.value, self.figure, self.under = png, caption, figure, under
        self.image.layout.display = None

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the image at a place of the picture, in 0..1."""
        return figures.pixel_at(self.figure, x, y) if self.figure else None
