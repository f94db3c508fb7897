"""Pictures to choose in a notebook: the same figure function with and without controls around it."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from eln_kit import figures, notebook
from eln_kit.data import Item
from eln_kit.strip import Strip, thumbnail

CHOICES = {"image": {"a": 1, "b": 2}, "network": {"teacher": None, "student": 20}}


def draw(image, network):
    return figures.contact_sheet(
        [np.zeros((3, 4, 6))], [np.zeros((4, 6), int)], ["x"], [[9, 9, 9]], [f"{image} {network}"]
    )


@pytest.fixture
def shown(monkeypatch) -> list:
    shown: list = []
    monkeypatch.setattr(notebook, "display", shown.append)
    return shown


@pytest.mark.parametrize("watched", [False, True])
def test_the_same_pictures_are_kept_whether_or_not_somebody_watches(shown, monkeypatch, tmp_path, watched):
    monkeypatch.setattr(notebook, "person_watches", lambda: watched)
    notebook.choose(draw, {tmp_path / "1.png": {"image": 2}, tmp_path / "2.png": {"image": 1}}, **CHOICES)
    for name, settings in {"1.png": (2, None), "2.png": (1, None)}.items():
        expected = figures.save(draw(*settings), tmp_path / "expected.png")
        assert (tmp_path / name).read_bytes() == expected.read_bytes()
    pictures = [each.data for each in shown if not watched]
    assert pictures == ([] if watched else [(tmp_path / f"{number}.png").read_bytes() for number in (1, 2)])


def test_controls_start_with_what_is_kept_and_show_what_the_figure_function_gives(shown, monkeypatch, tmp_path):
    monkeypatch.setattr(notebook, "person_watches", lambda: True)
    notebook.choose(draw, {tmp_path / "1.png": {"image": 2}}, **CHOICES)
    image, network, picture = shown[0].children
    assert (image.value, network.value) == ("b", "teacher")
    assert picture.value == figures.drawn(figures.on_paper(draw(2, None)))
    network.value = "student"
    assert picture.value == figures.drawn(figures.on_paper(draw(2, 20)))


def test_where_there_is_nothing_to_choose_nothing_is_shown(shown, monkeypatch):
    monkeypatch.setattr(notebook, "person_watches", lambda: True)
    notebook.choose(draw, {}, image={}, network={})
    assert shown == []


@pytest.fixture
def items(tmp_path) -> list[Item]:
    """Images of one grey each."""
    for grey in range(30):
        Image.new("RGB", (400, 300), (grey, grey, grey)).save(tmp_path / f"{grey:02}.png")
    return [Item(path.stem, path) for path in sorted(tmp_path.glob("*.png"))]


def test_images_are_chosen_by_clicking_their_pictures(shown, monkeypatch, tmp_path, items):
    monkeypatch.setattr(notebook, "person_watches", lambda: True)
    drawn: list = []

    def draw_items(images):
        drawn.append([item.id for item in images])
        return draw("some", "x")

    choices = notebook.each(items[:3], items)
    notebook.choose(draw_items, {tmp_path / "kept.png": {"images": items[:3]}}, images=choices)
    strip, _ = shown[0].children
    together, first = strip.row.children[1:3]
    assert (together.description, together.tooltip) == ("3 at once", "3 at once")
    first.click()
    assert drawn[-1] == ["00"]
    assert "eln-chosen" in first._dom_classes
    assert "eln-chosen" not in together._dom_classes


def test_of_many_images_a_page_is_read_at_a_time(items, monkeypatch):
    read: list = []
    monkeypatch.setattr("eln_kit.strip.thumbnail", lambda item: read.append(item.id) or "")
    strip = Strip({item.id: item for item in items}, items[20].id)
    assert read == [item.id for item in items[16:24]]
    strip.after.click()
    assert read[8:] == [item.id for item in items[24:]]
    assert strip.after.disabled
    assert not strip.before.disabled
    assert strip.value == items[20].id


def test_a_thumbnail_is_small_and_one_that_cannot_be_read_is_left_out(items, tmp_path):
    picture = Image.open(io.BytesIO(base64.b64decode(thumbnail(items[20]).partition(",")[2])))
    assert picture.size == (168, 126)
    assert picture.getpixel((5, 5)) == (20, 20, 20)
    assert thumbnail(Item("gone", tmp_path / "gone.png")) == ""
