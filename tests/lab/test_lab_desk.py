"""The lab's controls and the work beside them, without a browser."""

import asyncio
import re

import pytest

from eln_kit import lab
from eln_kit.faults import DataError, ParamsError
from eln_kit.lab import views
from eln_kit.lab.desk import Desk
from eln_kit.lab.session import Session, finish
from eln_kit.lab.worker import Worker

pytestmark = pytest.mark.slow


def test_new_work_replaces_the_old_and_controls_are_served_between_pieces():
    async def scenario():
        worker, shown, served = Worker(shown_as := []), [], []
        worker.failed = shown_as.append

        def count(name, pieces):
            for piece in range(pieces):
                yield lambda piece=piece: shown.append((name, piece))

        worker.start("look", count("old", 1000))
        await asyncio.sleep(0.01)
        served.append(len(shown))
        worker.start("look", count("new", 3))
        while worker.busy("look"):
            await asyncio.sleep(0.01)
        return shown, served

    shown, served = asyncio.run(scenario())
    assert 0 < served[0] < 1000
    assert shown[-3:] == [("new", 0), ("new", 1), ("new", 2)]
    assert len([name for name, _ in shown if name == "old"]) < 1000


def test_an_expected_error_in_the_background_becomes_a_line():
    lines = []

    async def scenario():
        def broken():
            yield lambda: None
            raise DataError("b.png: cannot be read")

        worker = Worker(lines.append)
        worker.start("look", broken())
        while worker.busy("look"):
            await asyncio.sleep(0.01)

    asyncio.run(scenario())
    assert lines == ["b.png: cannot be read"]


def settled(desk: Desk, act) -> None:
    """Do something at the desk, and wait until all that follows from it is done."""

    async def scenario():
        act()
        while any(desk.worker.busy(name) for name in ("look", "eln", "sweep")):
            await asyncio.sleep(0.01)

    asyncio.run(scenario())


@pytest.fixture
def desk(session) -> Desk:
    desk = Desk(session)
    desk.make.steps.unobserve_all()
    desk.make.steps.value = 10
    settled(desk, desk.refresh)
    return desk


def test_controls_show_what_the_session_computes(desk, session):
    assert desk.make.numbers.value == views.numbers(session)
    threshold = desk.find.threshold
    judged = finish(session.find(0, 0))
    for value in (0.3, 0.8):
        threshold.value = value
        assert desk.find.filtered.image.value == views.filtering(session, judged).png(value)
        assert desk.find.numbers.value == views.filter_numbers(value, judged)


def test_as_many_ratios_are_offered_as_there_are_decoders(desk, session):
    def three():
        desk.make.count.value = 3

    settled(desk, three)
    assert len(session.erring) == 3
    assert [each.layout.display for each in desk.make.ratios] == [None, None, None, "none"]
    assert [name for name, _ in desk.find.which.options] == session.names


def test_a_decoder_taken_away_while_it_is_looked_at_gives_way_to_the_others(desk):
    def look_at_the_second():
        desk.find.which.value = 2

    def take_it_away():
        desk.make.count.value = 1

    settled(desk, look_at_the_second)
    settled(desk, take_it_away)
    assert desk.find.which.value == 1
    assert "auxiliary 1" in desk.find.maps.words.value


def test_buttons_train_eln_stop_it_and_keep_pictures(desk, session, trained):
    settled(desk, desk.train_eln)
    assert session.eln_steps == 20
    assert "After 20 steps here in all: AUPR of the errors of the main decoder: ELN" in desk.what.learnt.value

    def train_and_stop():
        desk.train_eln()
        desk.stop_eln()

    settled(desk, train_and_stop)
    assert session.eln_steps < 40
    desk.save_pictures()
    names = {path.name for path in (trained / "error_lab").glob("*.png")}
    assert {"errors.png", "ratios.png", "maps.png", "filter.png"} <= names


def test_what_cannot_be_written_is_one_line_in_each_part(desk, trained, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    desk.save_pictures()
    assert all(re.search(r"error_lab: cannot be written \(Permission denied\)", each.value) for each in desk.complaints)


def test_a_part_without_an_open_run_says_to_run_the_cells_above(monkeypatch):
    monkeypatch.setattr(lab, "_opened", [])
    with pytest.raises(ParamsError, match="restarted: run the cells above first"):
        lab.find_errors()


def test_looking_at_another_image_while_eln_trains_shows_that_image_and_no_error(desk, session):
    def train_and_look():
        desk.what.steps.value = 30
        desk.train_eln()
        desk.make.image.value = 3

    settled(desk, train_and_look)
    assert [each.value for each in desk.complaints] == [""] * 3
    assert desk.find.judged.place == 2
    assert session.eln_steps == desk.find.judged.eln_steps == 30
    assert desk.find.filtered.image.value == views.filtering(session, finish(session.find(2, 0))).png(0.5)


def test_eln_is_trained_on_errors_that_are_made_to_the_end(desk, session):
    def change_and_train():
        desk.make.ratios[0].value = 4.0
        desk.train_eln()

    settled(desk, change_and_train)
    assert [len(each.ratios) for each in session.erring] == [10, 10]


def test_work_that_fails_leaves_bars_full_and_stop_buttons_off(desk, monkeypatch, capsys):
    monkeypatch.setattr(Session, "_eln_step", lambda *_: 1 / 0)
    settled(desk, desk.train_eln)
    assert "ZeroDivisionError" in desk.complaints[0].value
    assert desk.what.stop.disabled
    assert desk.what.progress.value == desk.make.progress.value == 1
    settled(desk, desk.refresh)
    assert desk.complaints[0].value == ""


def test_a_wrong_name_and_then_a_good_one_leave_one_message(desk, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    desk.what.name.value = "../x"
    desk.write_params()
    assert "letters, digits" in desk.complaints[2].value
    assert desk.what.kept.value == ""
    desk.what.name.value = "good"
    desk.write_params()
    assert desk.complaints[2].value == ""
    assert "eln-kit run params/good.yaml" in desk.what.kept.value
