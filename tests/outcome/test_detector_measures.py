import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from eln_kit.evaluation.measures import Ranking
from eln_kit.outcome.measures import mean_over_images, measure, perfect_risks, risks


@pytest.fixture
def pixels():
    """Trust, the logit of a probability, with ties, and errors that follow it."""
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(2000, generator=generator) * 50).round().clamp(1, 49) / 50
    return right.logit(), torch.rand(2000, generator=generator) < (1 - right) * 0.7


def test_measures_of_four_pixels_by_hand():
    trust, wrong = torch.tensor([0.9, 0.8, 0.7, 0.6]).logit(), torch.tensor([False, False, True, False])
    found = measure(trust, wrong, is_probability=True)
    assert found["auroc"] == pytest.approx(2 / 3)  # the error is distrusted more than two of three right pixels
    assert found["aupr"] == pytest.approx(1 / 2)  # and found second
    assert found["fpr95"] == pytest.approx(1 / 3)  # one right pixel is dropped with it
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert found["excess_aurc"] == pytest.approx((1 / 3) / 4)  # at best the error is kept last, at risk 1/4
    assert found["augrc"] == pytest.approx((0 + 0 + 1 / 4 + 1 / 4) / 4)  # errors over all four pixels
    assert found["kept_50"] == 1
    assert found["kept_80"] == pytest.approx(2 / 3)
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.49 + 0.16) / 4)
    assert found["error_rate"] == 1 / 4
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.7 + 0.4) / 4)  # each in a bin of its own
    assert measure(trust, wrong)["ece"] is None, "of no probability"


def test_pixels_of_equal_trust_are_dropped_in_no_order_on_average():
    ranking = Ranking(-torch.tensor([0.0, 1, 1, 1, 1]), torch.tensor([False, True, False, False, True]))
    assert risks(ranking).tolist() == pytest.approx([0, 0.5 / 2, 1 / 3, 1.5 / 4, 2 / 5])
    assert ranking.after(2)["precision"] == pytest.approx(0.5)


def test_no_detector_is_better_than_the_perfect_one(pixels):
    ranking = Ranking(*pixels)
    assert (perfect_risks(ranking) <= risks(ranking) + 1e-12).all()
    assert measure(-pixels[1].float(), pixels[1])["excess_aurc"] == pytest.approx(0, abs=1e-12)


def test_they_are_scikit_learns_where_it_has_them(pixels):
    trust, wrong = pixels
    found, score = measure(trust, wrong, is_probability=True), 1 - trust.double().sigmoid()
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-6)
    assert found["aupr"] == pytest.approx(average_precision_score(wrong, score), abs=1e-6)
    assert found["brier"] == pytest.approx(brier_score_loss(wrong, score), abs=1e-6)
    false, true, _ = roc_curve(wrong, score, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(false[true >= 0.95].min(), abs=1e-6)


@pytest.mark.parametrize("change", [lambda s: s * 40 - 90, lambda s: s.sigmoid(), lambda s: s.double() * 1e-9])
def test_only_the_order_of_trust_counts(pixels, change):
    trust, wrong = pixels
    assert measure(change(trust), wrong) == pytest.approx(measure(trust, wrong))


def test_without_an_error_what_is_not_defined_is_none():
    found = measure(-torch.tensor([0.1, 0.2]), torch.tensor([False, False]))
    assert found["auroc"] is found["aupr"] is found["fpr95"] is None
    assert found["aurc"] == 0
    assert measure(torch.ones(0), torch.ones(0).bool())["aurc"] is None


def test_the_interval_holds_the_mean_and_shrinks_with_more_images():
    few, many = mean_over_images([0.2, 0.4, None, 0.6]), mean_over_images([0.2, 0.4, 0.6] * 30)
    assert few["mean"] == pytest.approx(0.4)
    assert few["images"] == 3
    assert few["low"] < many["low"] < 0.4 < many["high"] < few["high"]
    assert mean_over_images([None])["mean"] is None
    assert mean_over_images([0.5])["low"] is None
