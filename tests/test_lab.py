import asyncio
import dataclasses
import re

import pytest
import torch

from eln_kit import checkpoint, lab
from eln_kit.data import DataError
from eln_kit.experiment import open_experiment
from eln_kit.lab import Settings, open_session, views
from eln_kit.lab.desk import Desk
from eln_kit.lab.session import SWEEP, Session, finish, rank_correlation
from eln_kit.lab.worker import Worker
from eln_kit.params import ParamsError
from eln_kit.params_file import build, load
from eln_kit.stages import ErrorLocalization, Supervised
from eln_kit.train import fit

QUICK = Settings((2.0, 5.0), steps=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, scenes):
    """A run folder with stages 1 and 2."""
    from conftest import TINY

    folder = tmp_path_factory.mktemp("lab") / "run"
    params = build({}, TINY | {"data.root": str(scenes), "run.folder": str(folder)})
    experiment = open_experiment(params)
    for kind in (Supervised, ErrorLocalization):
        fit(kind(experiment.networks(kind.after), params), experiment)
    return folder


@pytest.fixture
def session(trained) -> Session:
    return open_session(str(trained))


def weights(session: Session) -> list[torch.Tensor]:
    return [p.detach().clone() for each in session.erring for p in each.decoder.parameters()]


def test_a_run_opens_after_its_last_stage_or_after_the_one_named(trained):
    assert open_session(str(trained)).stage == "2_error_localization"
    assert open_session(str(trained), "1_supervised").stage == "1_supervised"


def test_a_run_that_cannot_be_opened_says_why_in_one_line(trained, tmp_path):
    with pytest.raises(ParamsError, match=r"nowhere/params\.yaml: no such params file"):
        open_session(str(tmp_path / "nowhere"))
    with pytest.raises(ParamsError, match="should be one of 1_supervised, 2_error_localization, 3_semi"):
        open_session(str(trained), "control")
    with pytest.raises(checkpoint.CheckpointError, match=r"run notebooks/3_semi_supervised\.ipynb first"):
        open_session(str(trained), "3_semi_supervised")
    with pytest.raises((checkpoint.CheckpointError, ParamsError, DataError), match=r"(?s)^[^\n]+$"):
        open_session(str(trained), knobs="data.shapes_train=13")


def test_a_run_without_a_finished_stage_names_the_notebook_to_run(tiny, tmp_path):
    params = tiny()
    open_experiment(params)
    (tmp_path / "run" / "params.yaml").write_text("{}")
    with pytest.raises(checkpoint.CheckpointError, match=r"run notebooks/1_supervised\.ipynb first"):
        open_session(
            str(tmp_path / "run"),
            knobs=f"data.root={params.data.root} data.shapes_train=12 data.shapes_val=3 "
            "data.shapes_size=32 data.labels=4",
        )


def test_equal_settings_make_equal_errors(trained, session):
    again = open_session(str(trained))
    for each in (session, again):
        list(each.make_errors(QUICK))
    assert all(map(torch.equal, weights(session), weights(again)))
    assert all(map(torch.equal, session.predictions(0), again.predictions(0)))


def test_a_decoder_goes_on_where_it_was_and_ends_as_if_never_stopped(trained, session):
    list(session.make_errors(Settings(QUICK.ratios, steps=2)))
    first = session.erring[0]
    list(session.make_errors(QUICK))
    assert session.erring[0] is first
    straight = open_session(str(trained))
    list(straight.make_errors(QUICK))
    assert all(map(torch.equal, weights(session), weights(straight)))


def test_a_change_of_one_ratio_trains_that_decoder_alone(session):
    list(session.make_errors(QUICK))
    first, second = session.erring
    list(session.make_errors(Settings((2.0, 7.0), steps=3)))
    assert session.erring[0] is first
    assert session.erring[1] is not second


def test_work_left_midway_is_taken_up_again(trained, session):
    work = session.make_errors(QUICK)
    for _ in range(3):
        next(work)
    list(session.make_errors(QUICK))
    straight = open_session(str(trained))
    list(straight.make_errors(QUICK))
    assert all(map(torch.equal, weights(session), weights(straight)))


def test_a_decoder_below_its_ratio_learns_nothing(session):
    list(session.make_errors(Settings((100.0,), steps=1)))
    before = weights(session)
    list(session.make_errors(Settings((100.0,), steps=3)))
    assert all(map(torch.equal, before, weights(session)))
    assert max(session.erring[0].ratios) < 100


def test_noise_and_dropped_channels_change_the_errors_and_repeat(session):
    list(session.make_errors(Settings((2.0,), steps=2, noise=1.0, dropout=0.5)))
    one = session.erring[0]
    assert torch.equal(one.logits(session.held[0]), one.logits(session.held[0]))
    noisy = one.logits(session.held[0])
    list(session.make_errors(Settings((2.0,), steps=2)))
    assert not torch.equal(noisy, session.erring[0].logits(session.held[0]))


def test_errors_are_described_by_rate_boundary_overlap_and_confusions(session):
    list(session.make_errors(QUICK))
    main, first, second = session.describe_errors()
    assert [row["name"] for row in (main, first, second)] == session.names
    wrong = sum(
        ((mask != each.truth) & (each.truth != 255)).sum()
        for mask, each in zip(session.main, session.held, strict=True)
    )
    known = sum((each.truth != 255).sum() for each in session.held)
    assert main["error_rate"] == pytest.approx((wrong / known).item())
    assert 0 <= first["near_boundary"] <= 1
    assert first["overlap"][second["name"]] == second["overlap"][first["name"]]
    assert first["name"] not in first["overlap"]
    assert sum(share for *_, share in second["taken_for"]) == pytest.approx(1)


def test_a_sweep_gives_an_error_rate_for_every_ratio(session):
    shares, found = zip(*session.sweep(Settings((2.0,), steps=1)), strict=True)
    assert list(found[-1]) == SWEEP
    assert list(shares) == sorted(shares)
    assert shares[-1] == 1
    assert rank_correlation({1.0: 0.1, 10.0: 0.2, 100.0: 0.4}) == pytest.approx(1)


def test_training_eln_here_leaves_the_run_as_it_is(trained, session):
    path = trained / "2_error_localization" / checkpoint.FILE
    before, eln = path.read_bytes(), [p.detach().clone() for p in session.eln.parameters()]
    list(session.make_errors(QUICK))
    assert list(session.train_eln(2)) == [0, 0.5, 1]
    assert not all(map(torch.equal, eln, session.eln.parameters()))
    assert path.read_bytes() == before
    assert session.eln_steps == 2


def test_settings_become_a_params_file_that_runs_and_none_is_overwritten(session, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    first = session.write_params(Settings((3.0, 8.0), noise=0.5), 0.7)
    second = session.write_params(Settings((4.0,)), 0.6)
    assert [first.name, second.name] == ["my_lab.yaml", "my_lab_2.yaml"]
    params = load(first)
    assert params.error_localization.ratios == [3.0, 8.0]
    assert params.error_localization.noise == 0.5
    assert params.semi_supervised.threshold == 0.7
    assert params.run.folder == "runs/my_lab"
    assert params.model == session.params.model
    with pytest.raises(ParamsError, match="letters, digits"):
        session.write_params(Settings((4.0,)), 0.6, "../x")


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


def test_a_sweep_leaves_the_decoders_that_are_shown_alone(session):
    list(session.make_errors(Settings((1.0,), steps=2)))
    list(session.sweep(Settings((1.0,), steps=4)))
    assert len(session.erring[0].ratios) == 2
    assert session.erring[0].predictions


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


def test_what_is_not_defined_is_a_dash_and_names_are_escaped(session, monkeypatch):
    list(session.make_errors(QUICK))
    judged = finish(session.find(0, 0))
    assert "nan" not in views.filter_numbers(0.0, judged) + views.filter_numbers(1.1, judged)
    assert "–" in views.filter_numbers(0.0, judged)
    assert rank_correlation(dict.fromkeys(SWEEP, 0.5)) != rank_correlation(dict.fromkeys(SWEEP, 0.5))
    item = dataclasses.replace(session.held[0].item, id="a&b<i>c")
    monkeypatch.setattr(session, "held", [dataclasses.replace(session.held[0], item=item)])
    assert "a&amp;b&lt;i&gt;c" in views.errors(session, 0)[1]
