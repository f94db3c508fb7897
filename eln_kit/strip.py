"""A strip of small pictures in a notebook, to choose an image by clicking it."""

import base64
import io

import ipywidgets as w
import traitlets
from PIL import Image

from eln_kit.data import Item, read_image
from eln_kit.faults import DataError

PAGE = 8  # pictures at once, a row of them
WIDTH, HEIGHT = 84, 63  # pixels of each on the page
STYLE = f"""<style>
.eln-strip button {{ width: {WIDTH}px; height: {HEIGHT}px; padding: 0 4px; border: 2px solid transparent }}
.eln-strip .eln-picture {{ background-size: cover; background-position: center }}
.eln-strip .eln-chosen {{ border-color: var(--jp-brand-color1, #1976d2); opacity: 1 }}
.eln-strip .eln-turn {{ width: 28px }}
</style>"""


class Strip(w.VBox):
    """Buttons that are pictures, or names where a choice is not one image; `value` is the chosen one's name.

    Args:
        pictures: name of a choice -> its image, or None.
        value: the name chosen at first.
    """

    value = traitlets.Unicode()

    def __init__(self, pictures: dict[str, Item | None], value: str):
        self.names, self.pictures = list(pictures), pictures
        self.looks, self.said = w.HTML(), w.HTML()
        self.row = w.HBox(layout=w.Layout(flex_flow="row wrap", align_items="center"))
        self.before, self.after = (self._button(sign, by) for sign, by in (("‹", -PAGE), ("›", PAGE)))
        self.first = self.names.index(value) // PAGE * PAGE
        super().__init__([self.looks, self.row, self.said])
        self.add_class("eln-strip")
        self.value = value
        self._show_page()

    @traitlets.observe("value")
    def _mark(self, _: object = None) -> None:
        self.said.value = self.value
        for button in self.row.children:
            (button.add_class if button.tooltip == self.value else button.remove_class)("eln-chosen")

    def _button(self, sign: str, by: int) -> w.Button:
        button = w.Button(description=sign).add_class("eln-turn")
        button.on_click(lambda _: self._turn(by))
        return button

    def _turn(self, by: int) -> None:
        self.first = min(max(self.first + by, 0), (len(self.names) - 1) // PAGE * PAGE)
        self._show_page()

    def _show_page(self) -> None:
        names = self.names[self.first : self.first + PAGE]
        urls = [thumbnail(item) if (item := self.pictures[name]) else "" for name in names]
        rules = [f".eln-{self.model_id}-{place} {{ background-image: url({url}) }}" for place, url in enumerate(urls)]
        self.looks.value = STYLE + f"<style>{' '.join(rules)}</style>"
        self.before.disabled, self.after.disabled = self.first == 0, self.first + PAGE >= len(self.names)
        turns = [self.before, self.after] if len(self.names) > PAGE else []
        self.row.children = [*turns[:1], *(self._choice(place, name) for place, name in enumerate(names)), *turns[1:]]
        self._mark()

    def _choice(self, place: int, name: str) -> w.Button:
        button = w.Button(description="" if self.pictures[name] else name, tooltip=name)
        button.add_class(f"eln-{self.model_id}-{place}").add_class("eln-picture")
        button.on_click(lambda _: setattr(self, "value", name))
        return button


def thumbnail(item: Item) -> str:
    """A small JPEG of an image as a data URL; empty where it cannot be read."""
    try:
        picture = Image.fromarray(read_image(item).permute(1, 2, 0).numpy())
    except DataError:
        return ""
    picture.thumbnail((2 * WIDTH, 2 * HEIGHT))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
