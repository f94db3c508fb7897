import dataclasses
import os
import shutil

import pytest
import torch

from eln_kit.faults import CheckpointError, DataError, ParamsError
from eln_kit.lab import Settings, open_session, views
from eln_kit.lab.opening import newest_run
from eln_kit.lab.session import SWEEP, Session, finish, rank_correlation
from eln_kit.store import checkpoint
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build, load

pytestmark = pytest.mark.slow

QUICK = Settings((2.0, 5.0), steps=3)


def weights(session: Session) -> list[torch.Tensor]:
    return [p.detach().clone() for each in session.erring for p in each.decoder.parameters()]


def test_a_run_opens_after_its_last_stage_or_after_the_one_named(trained):
    assert open_session(str(trained)).stage == "2_error_localization"
    assert open_session(str(trained), "1_supervised").stage == "1_supervised"


def test_without_a_run_the_newest_finished_one_is_taken_that_this_version_has_made(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert newest_run() is None
    for age, name in enumerate(("new", "old", "unfinished", "other_version")):
        shutil.copytree(trained, tmp_path / "runs" / name)
        if name != "unfinished":
            results = tmp_path / "runs" / name / "4_evaluate/results.json"
            results.parent.mkdir()
            results.touch()
            os.utime(results, (age, 0 if name == "old" else 1000 + age))
    path = tmp_path / "runs/other_version/2_error_localization" / checkpoint.FILE
    checkpoint.save(path, checkpoint.load(path) | {"version": "0.0.1"})
    assert newest_run() == tmp_path / "runs/new"
    assert open_session().experiment.folder == tmp_path / "runs/new"


def test_a_run_that_cannot_be_opened_says_why_in_one_line(trained, tmp_path):
    with pytest.raises(ParamsError, match="nowhere: no run is there"):
        open_session(str(tmp_path / "nowhere"))
    with pytest.raises(ParamsError, match="should be one of 1_supervised, 2_error_localization, 3_semi"):
        open_session(str(trained), "control")
    with pytest.raises(CheckpointError, match=r"run notebooks/3_semi_supervised\.ipynb first"):
        open_session(str(trained), "3_semi_supervised")
    with pytest.raises((CheckpointError, ParamsError, DataError), match=r"(?s)^[^\n]+$"):
        open_session(str(trained), knobs="data.shapes_train=13")


def test_a_run_without_a_finished_stage_names_the_notebook_to_run(tiny, tmp_path):
    params = tiny()
    open_experiment(params)
    (tmp_path / "run" / "params.yaml").write_text("{}")
    with pytest.raises(CheckpointError, match=r"run notebooks/1_supervised\.ipynb first"):
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
    assert list(session.train_eln(2, session.erring)) == [0, 0.5, 1]
    assert not all(map(torch.equal, eln, session.eln.parameters()))
    assert path.read_bytes() == before
    assert session.eln_steps == 2


def test_eln_learns_here_at_the_rates_of_the_run(session):
    knobs = {"optimizer.lr": 0.01, "optimizer.eln_lr_factor": 0.1, "optimizer.encoder_lr_factor": 0.5}
    experiment = dataclasses.replace(session.experiment, params=build(session.params.model_dump(), knobs))
    session = Session(experiment, session.stage, experiment.networks())
    rates = {id(p): group["lr"] for group in session.optimizer.param_groups for p in group["params"]}
    assert rates.keys() == {id(p) for p in session.eln.parameters()}
    assert rates[id(next(session.eln.encoder.parameters()))] == pytest.approx(0.0005)
    assert rates[id(session.eln.judge[0].weight)] == pytest.approx(0.001)
    assert rates[id(session.eln.shift)] == pytest.approx(0.01)


def test_old_rankings_are_forgotten(session, monkeypatch):
    monkeypatch.setattr("eln_kit.lab.session.KEPT", 2)
    for steps in range(4):
        session.eln_steps = steps
        found = finish(session.find(0, 0))
    assert len(session._rankings) == 2
    assert found.rankings in session._rankings.values()


def test_settings_become_a_params_file_that_runs_and_none_is_overwritten(session, tmp_path, monkeypatch):
    for folder in ("params", "notebooks"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    first = Settings((3.0, 8.0), noise=0.5).write_params(session.params, 0.7)
    second = Settings((4.0,)).write_params(session.params, 0.6)
    assert [first.name, second.name] == ["my_lab.yaml", "my_lab_2.yaml"]
    params = load(first)
    assert params.error_localization.ratios == [3.0, 8.0]
    assert params.error_localization.noise == 0.5
    assert params.semi_supervised.threshold == 0.7
    assert params.run.folder == "runs/my_lab"
    assert params.model == session.params.model
    with pytest.raises(ParamsError, match="letters, digits"):
        Settings((4.0,)).write_params(session.params, 0.6, "../x")


def test_a_sweep_leaves_the_decoders_that_are_shown_alone(session):
    list(session.make_errors(Settings((1.0,), steps=2)))
    list(session.sweep(Settings((1.0,), steps=4)))
    assert len(session.erring[0].ratios) == 2
    assert session.erring[0].predictions


def test_what_is_not_defined_is_a_dash_and_names_are_escaped(session, monkeypatch):
    list(session.make_errors(QUICK))
    judged = finish(session.find(0, 0))
    assert "nan" not in views.filter_numbers(0.0, judged) + views.filter_numbers(1.1, judged)
    assert "–" in views.filter_numbers(0.0, judged)
    assert rank_correlation(dict.fromkeys(SWEEP, 0.5)) != rank_correlation(dict.fromkeys(SWEEP, 0.5))
    item = dataclasses.replace(session.held[0].item, id="a&b<i>c")
    monkeypatch.setattr(session, "held", [dataclasses.replace(session.held[0], item=item)])
    assert "a&amp;b&lt;i&gt;c" in views.errors(session, 0)[1]
