"""Pictures to choose in a notebook: the same figure function with and without controls around it."""

import numpy as np
import pytest

from eln_kit import figures, notebook

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
