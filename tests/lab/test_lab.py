import dataclasses
import os
import shutil

import pytest
import torch
from torchmetrics.functional.classification import binary_average_precision

from eln_kit.evaluation.measures import interval
from eln_kit.faults import CheckpointError, DataError, ParamsError
from eln_kit.lab import Settings, newest_run, open_session, views
from eln_kit.lab.erring import RATIOS, Point, nearest, rank_correlation
from eln_kit.lab.judging import Judged, drawn_auprs
from eln_kit.lab.session import Session
from eln_kit.store import checkpoint
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build, load, save

pytestmark = pytest.mark.slow

QUICK = Settings((2.0, 5.0), steps=3)


def weights(session: Session) -> list[torch.Tensor]:
    return [p.detach().clone() for each in session.erring for p in each.decoder.parameters()]


def error_rate(session: Session, masks: list[torch.Tensor]):
    """The share of wrong pixels in the held-out images."""
    pairs = [(mask, each.truth) for mask, each in zip(masks, session.held, strict=True)]
    wrong = sum(((mask != truth) & (truth != 255)).sum().item() for mask, truth in pairs)
    return pytest.approx(wrong / sum((truth != 255).sum().item() for _, truth in pairs))


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


def test_a_run_that_cannot_be_opened_says_why_in_one_line(trained, tiny, tmp_path):
    with pytest.raises(ParamsError, match="nowhere: no run is there"):
        open_session(str(tmp_path / "nowhere"))
    with pytest.raises(ParamsError, match="should be one of 1_supervised, 2_error_localization, 3_semi"):
        open_session(str(trained), "control")
    with pytest.raises(CheckpointError, match=r"run notebooks/3_semi_supervised\.ipynb first"):
        open_session(str(trained), "3_semi_supervised")
    with pytest.raises((CheckpointError, ParamsError, DataError), match=r"(?s)^[^\n]+$"):
        open_session(str(trained), knobs="data.shapes_train=13")
    save(open_experiment(tiny()).params, tmp_path / "run/params.yaml")
    with pytest.raises(CheckpointError, match=r"run notebooks/1_supervised\.ipynb first"):
        open_session(str(tmp_path / "run"))


@pytest.mark.parametrize("before", ["nothing", "fewer steps", "left midway"])
def test_errors_depend_on_their_settings_alone_and_decoders_go_on_where_they_were(trained, session, before):
    work = session.make_errors(QUICK if before == "left midway" else Settings(QUICK.ratios, steps=2))
    for _ in range({"nothing": 0, "fewer steps": 99, "left midway": 3}[before]):
        next(work, None)
    decoders = session.erring
    list(session.make_errors(QUICK))
    assert decoders in ([], session.erring)
    straight = open_session(str(trained))
    list(straight.make_errors(QUICK))
    assert all(map(torch.equal, weights(session), weights(straight)))
    assert all(map(torch.equal, session.predictions(0).values(), straight.predictions(0).values()))


def test_a_change_of_one_ratio_trains_that_decoder_alone(session):
    list(session.make_errors(QUICK))
    first, second = session.erring
    list(session.make_errors(Settings((2.0, 7.0), steps=3)))
    assert session.erring[0] is first
    assert session.erring[1] is not second


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
    assert main["error_rate"] == error_rate(session, session.main)
    assert 0 <= first["near_boundary"] <= 1
    assert first["overlap"][second["name"]] == second["overlap"][first["name"]]
    assert first["name"] not in first["overlap"]
    assert sum(share for *_, share in second["taken_for"]) == pytest.approx(1)


def test_a_sweep_gives_predictions_and_an_error_rate_for_every_ratio_and_is_not_made_twice(session):
    settings = Settings((2.0,), steps=1)
    shares = list(session.sweep(settings))
    points = session.points(settings)
    assert list(points) == RATIOS
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert points[1.0].error_rate == error_rate(session, points[1.0].masks)
    assert len(list(session.sweep(Settings((7.0, 8.0), steps=1)))) == len(RATIOS)  # of other ratios, the same sweep
    assert session.points(settings) == points
    assert session.points(Settings((2.0,), steps=2)) == {}


def test_a_sweep_that_was_left_goes_on_where_it_was_and_leaves_the_decoders_that_are_shown_alone(session):
    list(session.make_errors(Settings((1.0,), steps=2)))
    settings = Settings((1.0,), steps=1)
    work = session.sweep(settings)
    for _ in range(5):
        next(work)
    points = session.points(settings)
    assert 0 < len(points) < 9
    list(session.sweep(settings))
    assert all(session.points(settings)[ratio] is point for ratio, point in points.items())
    assert len(session.erring[0].ratios) == 2
    assert session.erring[0].predictions


def test_the_nearest_ratio_is_the_smallest_factor_away():
    points = dict.fromkeys((1.0, 10.0, 100.0), Point([], 0.5))
    assert [nearest(points, ratio) for ratio in (3.0, 3.3, 31.0, 32.0)] == [1.0, 10.0, 10.0, 100.0]
    assert nearest({}, 2.0) is None
    assert rank_correlation({ratio: Point([], ratio / 100) for ratio in points}) == pytest.approx(1)
    assert rank_correlation(points) != rank_correlation(points)  # NaN


def test_training_eln_here_leaves_the_run_as_it_is(trained, session):
    path = trained / "2_error_localization" / checkpoint.FILE
    before, eln = path.read_bytes(), [p.detach().clone() for p in session.learner.eln.parameters()]
    list(session.make_errors(QUICK))
    assert list(session.train_eln(2, session.erring)) == [0, 0.5, 1]
    assert not all(map(torch.equal, eln, session.learner.eln.parameters()))
    assert path.read_bytes() == before
    assert session.learner.steps == 2


def test_eln_becomes_the_runs_own_again_and_learns_as_it_did_then(session):
    list(session.make_errors(QUICK))
    own, first = session.find(0, 0), trained_eln(session)
    list(session.make_errors(Settings((1.0,), steps=3, noise=5.0)))
    session.learner.reset()
    assert torch.equal(session.find(0, 0).trust["ELN"], own.trust["ELN"])
    other = trained_eln(session)
    assert not torch.equal(first.everywhere.rankings["ELN"].trust, other.everywhere.rankings["ELN"].trust)
    session.learner.reset()
    list(session.make_errors(QUICK))
    assert torch.equal(first.trust["ELN"], trained_eln(session).trust["ELN"])


def trained_eln(session: Session) -> Judged:
    list(session.train_eln(3, session.erring))
    return session.find(0, 0)


def test_an_interval_covers_the_areas_of_images_drawn_again(session):
    trust, wrong = [torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0.2, 0.8])], [torch.tensor([1, 0, 1, 0]) > 0] * 2
    wrong[1] = wrong[1][:2]
    draws = drawn_auprs(trust, wrong)
    alone = [binary_average_precision(1 - t, w.long()).item() for t, w in zip(trust, wrong, strict=True)]
    both = binary_average_precision(1 - torch.cat(trust), torch.cat(wrong).long()).item()
    assert {round(float(each), 5) for each in draws} == {round(each, 5) for each in (*alone, both)}
    low, high = interval(draws)
    assert low <= both <= high


def test_eln_learns_here_at_the_rates_of_the_run(session):
    knobs = {"optimizer.lr": 0.01, "optimizer.eln_lr_factor": 0.1, "optimizer.encoder_lr_factor": 0.5}
    experiment = dataclasses.replace(session.experiment, params=build(session.params.model_dump(), knobs))
    session = Session(experiment, session.stage, experiment.networks())
    learner = session.learner
    rates = {id(p): group["lr"] for group in learner.optimizer.param_groups for p in group["params"]}
    assert rates.keys() >= {id(p) for p in learner.eln.parameters()}
    assert rates[id(next(learner.eln.encoder.parameters()))] == pytest.approx(0.0005)
    assert rates[id(learner.eln.judge[0].weight)] == pytest.approx(0.001)
    assert rates[id(learner.eln.shift)] == pytest.approx(0.01)


def test_old_rankings_are_forgotten(session, monkeypatch):
    monkeypatch.setattr("eln_kit.lab.session.KEPT", 2)
    for steps in range(4):
        session.learner.version = steps
        found = session.find(0, 0)
    assert len(session._measured) == 2
    assert found.everywhere in session._measured.values()


def test_settings_become_a_params_file_that_runs_and_none_is_overwritten(session, empty_project):
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


def test_what_is_not_defined_is_a_dash_and_names_are_escaped(session, monkeypatch):
    list(session.make_errors(QUICK))
    judged = session.find(0, 0)
    assert "nan" not in views.filter_numbers(0.0, judged) + views.filter_numbers(1.1, judged)
    assert "–" in views.filter_numbers(0.0, judged)
    item = dataclasses.replace(session.held[0].item, id="a&b<i>c")
    monkeypatch.setattr(session, "held", [dataclasses.replace(session.held[0], item=item)])
    assert "a&amp;b&lt;i&gt;c" in views.errors(session, 0)[1]
