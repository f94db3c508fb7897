import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from eln_kit.evaluation.measures import kept_accuracy, mean_over_images, measure, perfect_risks, risks


@pytest.fixture
def pixels():
    """Scores that are probabilities, with ties, and errors that follow them."""
    generator = torch.Generator().manual_seed(0)
    score = (torch.rand(2000, generator=generator) * 50).round() / 50
    return score, torch.rand(2000, generator=generator) < score * 0.7


def test_measures_of_four_pixels_by_hand():
    score, wrong = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([False, False, True, False])
    found = measure(score, wrong, is_probability=True)
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


def test_pixels_of_equal_score_are_dropped_in_no_order_on_average():
    curve = risks(torch.tensor([0.0, 1, 1, 1, 1]), torch.tensor([False, True, False, False, True]))
    assert curve.tolist() == pytest.approx([0, 0.5 / 2, 1 / 3, 1.5 / 4, 2 / 5])


def test_no_detector_is_better_than_the_perfect_one(pixels):
    score, wrong = pixels
    assert (perfect_risks(wrong) <= risks(score, wrong) + 1e-12).all()
    assert measure(wrong.float(), wrong)["excess_aurc"] == pytest.approx(0, abs=1e-12)


def test_they_are_scikit_learns_where_it_has_them(pixels):
    score, wrong = pixels
    found = measure(score, wrong, is_probability=True)
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-6)
    assert found["aupr"] == pytest.approx(average_precision_score(wrong, score), abs=1e-6)
    assert found["brier"] == pytest.approx(brier_score_loss(wrong, score), abs=1e-6)
    false, true, _ = roc_curve(wrong, score, drop_intermediate=False)
    assert found["fpr95"] == pytest.approx(false[true >= 0.95].min(), abs=1e-6)


@pytest.mark.parametrize("change", [lambda s: s * 40 - 90, lambda s: -(1 - s).log1p(), lambda s: s.double() * 1e-9])
def test_only_the_order_of_scores_counts(pixels, change):
    score, wrong = pixels
    plain, changed = measure(score, wrong), measure(change(score), wrong)
    assert changed == pytest.approx(plain)


def test_ece_by_hand():
    score = torch.tensor([0.99, 0.99, 0.01, 0.01])
    found = measure(score, torch.tensor([True, False, False, False]), is_probability=True)
    assert found["ece"] == pytest.approx((abs(0.99 - 0.5) + abs(0.01 - 0)) / 2)
    assert measure(score, score > 0.5)["ece"] is None


def test_without_an_error_what_is_not_defined_is_none():
    found = measure(torch.tensor([0.1, 0.2]), torch.tensor([False, False]))
    assert found["auroc"] is found["aupr"] is found["fpr95"] is None
    assert found["aurc"] == 0
    assert measure(torch.ones(0), torch.ones(0).bool())["aurc"] is None


def test_kept_accuracy_is_that_of_the_most_trusted_share():
    curve = risks(torch.arange(10.0), torch.arange(10) >= 8)
    assert kept_accuracy(curve, 0.8) == 1
    assert kept_accuracy(curve, 1.0) == pytest.approx(0.8)
    assert kept_accuracy(curve, 0.01) is None


def test_the_interval_holds_the_mean_and_shrinks_with_more_images():
    few, many = mean_over_images([0.2, 0.4, None, 0.6]), mean_over_images([0.2, 0.4, 0.6] * 30)
    assert few["mean"] == pytest.approx(0.4)
    assert few["images"] == 3
    assert few["low"] < many["low"] < 0.4 < many["high"] < few["high"]
    assert mean_over_images([None])["mean"] is None
    assert mean_over_images([0.5])["low"] is None
