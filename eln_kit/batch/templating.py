"""Pages and other files from the templates."""

import os
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from PIL import Image

from eln_kit.paths import project_root, write_whole

SIDE = 640  # pixels that the longer side of a picture has on a page that is to be small


def write_page(path: Path, template: str, title: str, **content: Any) -> Path:
    """Write a page from one of the templates, and give its path back; see `rendered`."""
    write_whole(path, rendered(template, path.parent, title=title, **content))
    return path


def rendered(template: str, folder: Path, linked: bool = False, **content: Any) -> str:
    """One of the templates, whose pictures lie in `folder`: inside the page, or linked where it is soon written again.

    Names are escaped in pages, and kept in other files; folders of this machine are written as `without_home` does.
    """
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("eln_kit.batch"),
        autoescape=jinja2.select_autoescape(["html"]),
        finalize=lambda value: without_home(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["inside"] = quote if linked else lambda place: _data((folder / place).read_bytes())
    pages.filters["small"] = lambda place: _data(_small(folder / place))
    return pages.get_template(template).render(**content)


def without_home(text: str) -> str:
    """Folders below the project relative to it, and those below the home folder from `~` on."""
    for place, short in ((project_root(), ""), (Path.home(), "~/")):
        if len(place.parts) > 1:  # not for a home that is the root
            text = text.replace(f"{place}{os.sep}", short)
    return text


def small(picture: Image.Image) -> Image.Image:
    """The picture, or a smaller one of at most `SIDE` pixels a side; a palette's colours are not mixed."""
    factor = min(1, SIDE / max(picture.size))
    size = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize(size, Image.Resampling.NEAREST if picture.mode == "P" else Image.Resampling.BOX)


def _data(png: bytes) -> Markup:
    return Markup(f"data:image/png;base64,{b64encode(png).decode()}")


def _small(file: Path) -> bytes:
    out = BytesIO()
    small(Image.open(file)).save(out, "PNG")
    return out.getvalue()
