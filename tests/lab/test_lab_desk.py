"""The lab's controls and the work beside them, without a browser."""

import asyncio
import io
import re
from functools import partial

import pytest
import torch
from PIL import Image

from eln_kit import lab
from eln_kit.faults import DataError, ParamsError
from eln_kit.lab import views
from eln_kit.lab.desk import Desk
from eln_kit.lab.session import Session, finish
from eln_kit.lab.settings import Settings
from eln_kit.lab.worker import Worker

pytestmark = pytest.mark.slow
LOOP = asyncio.new_event_loop()  # a kernel has one


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

    shown, served = LOOP.run_until_complete(scenario())
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

    LOOP.run_until_complete(scenario())
    assert lines == ["b.png: cannot be read"]


def busy(desk: Desk) -> bool:
    return any(map(desk.worker.busy, desk.worker.tasks))


def settled(desk: Desk, act) -> None:
    """Do something at the desk, and wait until all that follows from it is done."""

    async def scenario():
        act()
        while busy(desk):
            await asyncio.sleep(0.01)

    LOOP.run_until_complete(scenario())


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
    assert [each.disabled for each in desk.make.ratios] == [False, False, False, True]
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
        desk.status.stop.click()

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
    assert session.eln_steps == desk.find.judged.judge.eln_steps == 30
    assert desk.find.filtered.image.value == views.filtering(session, finish(session.find(2, 0))).png(0.5)


def test_eln_is_trained_on_errors_that_are_made_to_the_end(desk, session):
    def change_and_train():
        desk.make.ratios[0].value = 4.0
        desk.train_eln()

    settled(desk, change_and_train)
    assert [len(each.ratios) for each in session.erring] == [10, 10]


def test_work_that_fails_leaves_the_status_ready_and_stop_off(desk, monkeypatch, capsys):
    monkeypatch.setattr(Session, "_eln_step", lambda *_: 1 / 0)
    settled(desk, desk.train_eln)
    assert "ZeroDivisionError" in desk.complaints[0].value
    assert desk.status.stop.disabled
    assert desk.status.words.value == "ready"
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


@pytest.mark.parametrize("work", ["decoders", "sweep", "eln"])
def test_another_image_is_shown_while_something_trains_which_the_status_says_and_stop_ends(desk, session, work):
    train = {"decoders": partial(setattr, desk.make.steps, "value", 400), "sweep": desk.sweep, "eln": desk.train_eln}

    async def scenario():
        before = desk.make.errors.image.value
        train[work]()
        desk.make.image.value = 3
        while desk.find.maps.under[0] != 2:
            await asyncio.sleep(0.001)
        assert desk.make.errors.image.value != before
        assert "training" in desk.status.words.value
        assert not desk.status.stop.disabled
        desk.status.stop.click()
        while busy(desk):
            await asyncio.sleep(0.01)

    desk.make.steps.value = 200 if work == "sweep" else 10
    desk.make.steps.observe(desk.refresh, "value")
    desk.what.steps.value = 500
    LOOP.run_until_complete(scenario())
    assert desk.status.stop.disabled
    assert desk.status.words.value == "ready"
    assert all(0 < len(each.ratios) < 400 for each in session.erring)
    assert session.eln_steps < 500
    assert len(dict(desk.rates[1] if desk.rates else ())) < 9


def test_decoders_that_were_stopped_are_shown_and_measured_as_they_are(desk, session):
    def change_and_stop():
        desk.make.ratios[0].value = 4.0
        desk.status.stop.click()

    settled(desk, change_and_stop)
    assert len(session.erring[0].ratios) < 10
    assert desk.make.numbers.value == views.numbers(session)
    assert desk.make.errors.words.value == views.errors(session, 0)[1]


def test_a_decoder_that_trains_on_is_judged_as_it_was_when_it_was_looked_at(session):
    list(session.make_errors(Settings((2.0,), steps=1)))
    before = session.judge(0, 1)
    judge = before.judge
    list(session.train(session.erring, 4))
    assert torch.equal(judge(session.held[0])[1]["entropy"], before.trust["entropy"])
    assert not torch.equal(session.judge(0, 1).trust["entropy"], before.trust["entropy"])
    assert judge.key != session.judge(0, 1).judge.key


def test_everything_is_drawn_anew_on_the_colour_of_the_page(desk):
    light = desk.make.errors.image.value, desk.find.filtered.image.value
    settled(desk, partial(setattr, desk.parts[0].children[1], "value", "#111111"))
    dark = desk.make.errors.image.value, desk.find.filtered.image.value
    for before, after in zip(light, dark, strict=True):
        assert Image.open(io.BytesIO(before)).getpixel((1, 1)) == (255, 255, 255)
        assert Image.open(io.BytesIO(after)).getpixel((1, 1)) == (17, 17, 17)


def test_the_pixel_under_the_mouse_is_read_with_truth_prediction_and_trust(desk, session):
    mouse = desk.parts[1].children[2]
    truth = session.held[0].truth
    names = session.experiment.dataset.classes
    desk.find.maps.figure.canvas.draw()
    axis = desk.find.maps.figure.axes[1]
    x, y = axis.transData.transform((5, 20)) / desk.find.maps.figure.bbox.size
    mouse.value = f"maps {x:.4f} {1 - y:.4f}"
    assert f"truth: <b>{names[truth[20, 5]]}</b>" in desk.reading.value
    assert f"trust of ELN: {session.judge(0, 0).trust['ELN'][20, 5]:.0%}" in desk.reading.value
    mouse.value = "maps 0.0 0.0"
    assert desk.reading.value == ""
