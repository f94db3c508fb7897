"""The lab's controls and the work beside them, without a browser."""

import io
import threading
import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from patience import until
from PIL import Image

from eln_kit import lab
from eln_kit.faults import DataError, ParamsError
from eln_kit.lab import views
from eln_kit.lab.desk import Desk
from eln_kit.lab.learner import Learner
from eln_kit.lab.settings import Settings
from eln_kit.lab.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture
def worker():
    made = Worker(lambda *trouble: made.troubles.append(trouble))
    made.troubles = []
    yield made
    made.close()


def settle(worker: Worker) -> None:
    until(lambda: not worker.busy())


def counting(shown: list, name: str, pieces: int):
    for piece in range(pieces):
        yield lambda piece=piece: shown.append((name, piece))


def test_new_work_replaces_the_old_whose_piece_at_hand_shows_nothing_more(worker):
    shown: list = []
    begun, go_on = threading.Event(), threading.Event()

    def old():
        yield from counting(shown, "old", 3)
        begun.set()
        go_on.wait(60)
        yield from counting(shown, "late", 3)

    worker.start("look", old())
    begun.wait(60)
    worker.start("look", counting(shown, "new", 3))
    go_on.set()
    settle(worker)
    assert [name for name, _ in shown] == ["old"] * 3 + ["new"] * 3


def test_works_take_turns_and_idle_work_waits_for_all_others(worker):
    shown: list = []
    with worker.showing:  # nothing is shown before all are there
        worker.start("a", counting(shown, "a", 3))
        worker.start("idle", counting(shown, "idle", 2), idle=True)
        worker.start("b", counting(shown, "b", 3))
    until(lambda: len(shown) == 8)
    assert [name for name, _ in shown] == ["a", "b"] * 3 + ["idle"] * 2


def test_work_that_is_to_rest_first_may_be_replaced_meanwhile(worker):
    shown: list = []
    worker.start("ratio", counting(shown, "first", 1), after=0.1)
    worker.start("ratio", counting(shown, "second", 1), after=0.1)
    assert worker.busy()
    assert not shown
    settle(worker)
    assert shown == [("second", 0)]


def test_work_is_given_from_many_threads_and_computed_and_shown_in_one_at_a_time(worker):
    seen: list = []

    def piece(name):
        for _ in range(20):
            seen.append(threading.current_thread())
            yield lambda: seen.append(threading.current_thread())

    def give(name):
        for _ in range(20):
            worker.start(name, piece(name))
            worker.at_once(name, lambda: time.sleep(0.001))

    threads = [threading.Thread(target=give, args=(f"{number}",)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    settle(worker)
    assert {*seen} == {worker.thread}
    assert worker.troubles == []


def test_an_expected_error_becomes_a_line_and_an_unexpected_one_has_its_traceback_in_the_log(worker, capfd):
    def broken(error):
        yield lambda: None
        raise error

    worker.start("look", broken(DataError("b.png: cannot be read")))
    settle(worker)
    assert worker.troubles == [("look", "b.png: cannot be read")]
    assert capfd.readouterr().err == ""
    worker.start("look", broken(ValueError("odd")))
    settle(worker)
    worker.at_once("showing", lambda: 1 / 0)
    assert worker.troubles[1:] == [("look", "ValueError: odd"), ("showing", "ZeroDivisionError: division by zero")]
    assert "raise error" in capfd.readouterr().err


def test_a_closed_worker_ends_its_thread_at_once(worker):
    worker.start("long", counting([], "long", 10**9))
    worker.close()
    assert not worker.thread.is_alive()


@contextmanager
def settling(desk: Desk):
    """At its end all is done that follows from what is done in it."""
    yield
    settle(desk.worker)


def settled(desk: Desk, act) -> None:
    with settling(desk):
        act()


@pytest.fixture
def desk(session, monkeypatch):
    monkeypatch.setattr(Desk, "prepare", lambda *_: None)  # what a test computes is not to meet it
    desk = Desk(session)
    desk.make.steps.unobserve_all()
    desk.make.steps.value = 10
    settled(desk, desk.refresh)
    yield desk
    desk.close()


def test_controls_show_what_the_session_computes(desk, session):
    assert desk.make.numbers.value == views.numbers(session)
    threshold = desk.find.threshold
    judged = session.find(0, 0)
    for value in (0.3, 0.8):
        threshold.value = value
        assert desk.find.filtered.image.value == views.filtering(session, judged).at(value).png()
        assert desk.find.numbers.value == views.filter_numbers(value, judged)


def test_as_many_ratios_and_predictions_are_offered_as_there_are_decoders(desk, session):
    with settling(desk):
        desk.make.count.value = 3
    assert len(session.erring) == 3
    assert [ratio.disabled for ratio in desk.make.ratios] == [False, False, False, True]
    assert [name for name, _ in desk.find.which.options] == session.names
    with settling(desk):
        desk.find.which.value = 2
    with settling(desk):
        desk.make.count.value = 1
    assert desk.find.which.value == 1, "the one that was looked at is gone"
    assert "auxiliary 1" in desk.find.maps.words.value


def test_buttons_train_eln_reset_it_stop_it_and_keep_pictures(desk, session, trained):
    before = desk.find.maps.image.value
    settled(desk, desk.train_eln)
    assert session.learner.steps == 20
    assert len(desk.trained) == 2
    assert desk.what.trainings.value == views.trainings(desk.trained)
    assert desk.find.maps.image.value != before
    settled(desk, desk.reset_eln)
    assert session.learner.steps == 0
    assert desk.find.maps.image.value == before
    settled(desk, desk.train_eln)
    assert desk.what.trainings.value.count("<td>20 steps</td>") == 2
    assert desk.what.trainings.value.count("<td>the run&#x27;s own</td>") == 1

    with settling(desk):
        desk.train_eln()
        desk.status.stop.click()
    assert session.learner.steps < 40
    desk.save_pictures()
    names = {path.name for path in (trained / "error_lab").glob("*.png")}
    assert {"errors.png", "ratios.png", "maps.png", "filter.png"} <= names


def test_what_cannot_be_written_is_one_line_in_each_part(desk, trained, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    desk.save_pictures()
    assert "error_lab: cannot be written (Permission denied)" in desk.status.complaint.value
    assert all(desk.status.complaint in part.children for part in desk.parts)


def test_a_part_without_an_open_run_says_to_run_the_cells_above(monkeypatch):
    monkeypatch.setattr(lab, "_opened", [])
    with pytest.raises(ParamsError, match="restarted: run the cells above first"):
        lab.find_errors()


def test_looking_at_another_image_while_eln_trains_shows_that_image_and_no_error(desk, session):
    with settling(desk):
        desk.what.steps.value = 30
        desk.make.ratios[0].value = 3.98
        desk.train_eln()
        desk.make.image.value = 3
    assert desk.status.complaint.value == ""
    assert desk.find.judged.place == 2
    assert session.learner.steps == desk.find.judged.judge.eln_steps == 30
    assert [len(erring.ratios) for erring in session.erring] == [10, 10], "errors are made to the end first"
    assert desk.find.filtered.image.value == views.filtering(session, session.find(2, 0)).at(0.5).png()


def is_pale(shown) -> bool:
    return "eln-pale" in shown._dom_classes


def test_work_that_fails_is_told_by_the_status_and_leaves_pale_what_it_would_have_shown(desk, monkeypatch):
    monkeypatch.setattr(Learner, "_step", lambda *_: 1 / 0)
    settled(desk, desk.train_eln)
    assert "ZeroDivisionError" in desk.status.complaint.value
    assert desk.status.stop.disabled
    assert desk.status.words.value == "failed: training ELN"
    assert is_pale(desk.find.maps)
    assert not is_pale(desk.make.errors)
    settled(desk, desk.refresh)
    assert desk.status.complaint.value == ""
    assert desk.status.words.value == "ready"
    assert not is_pale(desk.find.maps)
    monkeypatch.setattr("eln_kit.lab.session.draw_pixels", lambda *_: 1 / 0)
    with settling(desk):
        desk.find.which.value = 1
    assert desk.status.words.value == "failed: drawing"


def test_a_dragged_ratio_shows_at_once_what_the_sweep_has_nearest_and_is_trained_when_it_rests(
    desk, session, monkeypatch
):
    monkeypatch.setattr("eln_kit.lab.desk.PAUSE", 1.0)
    list(session.sweep(desk.make.settings))
    expected = views.errors(session, 0)[0]
    mask = session.points(desk.make.settings)[31.6].masks[0]
    for ratio in (89.1, 28.2, 35.5):
        desk.make.ratios[1].value = ratio
    assert desk.make.errors.image.value == expected.change(2, "auxiliary 2, about 31.6", mask).png()
    assert not is_pale(desk.make.errors)
    assert is_pale(desk.make.numbers)
    assert torch.equal(desk.make.errors.seen[1][1]["auxiliary 2, about 31.6"], mask)
    settle(desk.worker)
    assert session.names[2] == "auxiliary 2, ratio 35.5"
    assert desk.make.errors.image.value == views.errors(session, 0)[0].png()


def test_the_sweep_is_prepared_while_nobody_waits(session):
    desk = Desk(session)
    desk.make.steps.value = 10
    until(lambda: len(session.points(desk.make.settings)) == 9 and not desk.worker.works)
    assert desk.status.words.value == "ready"
    assert "9 of 9" in desk.make.go.description
    desk.close()


def test_the_status_is_ready_only_when_nothing_shown_is_pale(desk, session):
    shown = desk.make.errors, desk.make.numbers, desk.make.curves, desk.find.maps, desk.find.filtered, desk.find.numbers
    ready: list = []

    def look(change):
        if change["new"] == "ready":
            ready.append([is_pale(each) for each in shown])

    desk.status.words.observe(look, "value")
    for control, value in (
        (desk.make.ratios[0], 10.0),
        (desk.find.which, 1),
        (desk.make.count, 3),
        (desk.make.image, 2),
    ):
        with settling(desk):
            control.value = value
    assert ready == [[False] * 6] * 4
    assert session.names[1] == "auxiliary 1, ratio 10", "dragged before a sweep is known"
    assert desk.status.complaint.value == ""


def test_a_wrong_name_and_then_a_good_one_leave_one_message(desk, empty_project):
    desk.what.name.value = "../x"
    desk.write_params()
    assert "letters, digits" in desk.status.complaint.value
    assert desk.what.kept.value == ""
    desk.what.name.value = "good"
    desk.write_params()
    assert desk.status.complaint.value == ""
    assert "eln-kit run params/good.yaml" in desk.what.kept.value


@pytest.mark.parametrize("work", ["decoders", "sweep", "eln"])
def test_another_image_is_shown_while_something_trains_which_the_status_says_and_stop_ends(desk, session, work):
    train = {"decoders": partial(setattr, desk.make.steps, "value", 400), "sweep": desk.sweep, "eln": desk.train_eln}

    desk.make.steps.value = 200 if work == "sweep" else 10
    desk.make.steps.observe(lambda _: desk.refresh(), "value")
    desk.what.steps.value = 500
    before = desk.make.errors.image.value
    train[work]()
    desk.make.image.value = 3
    until(lambda: desk.find.maps.seen[1][0] == 2)
    assert desk.make.errors.image.value != before
    assert "training" in desk.status.words.value
    assert not desk.status.stop.disabled
    desk.status.stop.click()
    settle(desk.worker)
    assert desk.status.stop.disabled
    assert desk.status.words.value == "ready"
    assert all(0 < len(each.ratios) < 400 for each in session.erring)
    assert session.learner.steps < 500
    assert len(session.points(desk.make.settings)) < 9


def test_decoders_that_were_stopped_are_shown_and_measured_as_they_are(desk, session):
    with settling(desk):
        desk.make.ratios[0].value = 3.98
        desk.status.stop.click()
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
    with settling(desk):
        desk.parts[0].children[1].value = "#111111"
    dark = desk.make.errors.image.value, desk.find.filtered.image.value
    for before, after in zip(light, dark, strict=True):
        assert Image.open(io.BytesIO(before)).getpixel((1, 1)) == (255, 255, 255)
        assert Image.open(io.BytesIO(after)).getpixel((1, 1)) == (17, 17, 17)


def test_the_pixel_under_the_mouse_is_read_with_truth_prediction_and_trust(desk, session):
    mouse = desk.parts[1].children[2]
    truth = session.held[0].truth
    names = session.experiment.dataset.classes
    desk.find.maps.seen[0].canvas.draw()
    axis = desk.find.maps.seen[0].axes[1]
    x, y = axis.transData.transform((5, 20)) / desk.find.maps.seen[0].bbox.size
    mouse.value = f"maps {x:.4f} {1 - y:.4f}"
    assert f"truth: <b>{names[truth[20, 5]]}</b>" in desk.reading.value
    assert f"trust of ELN: {session.judge(0, 0).trust['ELN'][20, 5]:.0%}" in desk.reading.value
    mouse.value = "maps 0.0 0.0"
    assert desk.reading.value == ""
