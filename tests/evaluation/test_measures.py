import math

import numpy as np
import pytest
import torch

from eln_kit.evaluation.measures import Ranking


def test_keeping_gives_the_accuracy_of_the_most_trusted_share():
    ranking = Ranking(-torch.arange(10.0), torch.arange(10) >= 8)
    assert ranking.keeping(0.8) == 1
    assert ranking.keeping(1.0) == pytest.approx(0.8)
    assert np.isnan(ranking.keeping(0.01))


def test_a_threshold_drops_what_is_below_it():
    ranking = Ranking(torch.tensor([0.9, 0.2, 0.5, 0.6, 0.1]), torch.tensor([False, True, True, False, False]))
    assert ranking.at(0.5) == {
        "kept_share": pytest.approx(3 / 5),
        "kept_accuracy": pytest.approx(2 / 3),
        "precision": pytest.approx(1 / 2),
        "recall": pytest.approx(1 / 2),
    }
    everything = ranking.at(0.0)
    assert everything["kept_share"] == 1
    assert math.isnan(everything["precision"])
    assert math.isnan(ranking.at(1.0)["kept_accuracy"])


def test_a_pixel_at_the_threshold_is_kept_as_in_training():
    trust = torch.tensor([0.1, 0.3, 0.7])  # in float32 0.1, 0.3 and 0.7 are none of these
    for threshold in (0.1, 0.3, 0.7):
        kept = (trust >= threshold).float().mean().item()
        assert Ranking(trust, torch.tensor([True, False, True])).at(threshold)["kept_share"] == pytest.approx(kept)


def test_the_area_under_the_curve_is_the_mean_precision_at_the_errors():
    trust, wrong = torch.tensor([0.3, 0.1, 0.2]), torch.tensor([True, True, False])
    assert Ranking(trust, wrong).aupr == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert math.isnan(Ranking(trust, ~wrong & False).aupr)


def test_a_curve_runs_from_dropping_few_to_dropping_many():
    curve = Ranking(torch.arange(1000) / 1000, torch.arange(1000) < 100).curve(9)
    assert curve["kept_share"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    assert curve["recall"] == [1.0] * 9
    assert curve["precision"][:2] == pytest.approx([1.0, 0.5])
