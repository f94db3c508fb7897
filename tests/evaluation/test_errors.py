import math

import pytest
import torch

from eln_kit.evaluation.errors import Ranking, boundary_distance, overlap, taken_for, wrong_pixels


def test_void_pixels_are_not_wrong():
    truth = torch.tensor([[0, 1, 255, 1]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8)
    assert wrong_pixels(prediction, truth).tolist() == [[False, True, False, False]]


def test_a_boundary_is_where_another_class_is_and_void_makes_none():
    row = torch.tensor([[0, 0, 0, 0, 1, 1, 255, 255, 1, 1]], dtype=torch.uint8)
    assert boundary_distance(row).tolist() == [[4, 3, 2, 1, 1, 2, 10, 10, 5, 6]]


def test_overlap_is_intersection_over_union_of_errors():
    one = torch.tensor([True, True, True, False])
    other = torch.tensor([False, True, True, True])
    assert overlap(one, other) == 0.5
    assert math.isnan(overlap(torch.zeros(3).bool(), torch.zeros(3).bool()))


def test_confusions_come_by_frequency_with_their_share_of_the_errors():
    truth = torch.tensor([[0, 0, 0, 1, 1, 2, 255]], dtype=torch.uint8)
    prediction = torch.tensor([[1, 1, 0, 0, 1, 2, 0]], dtype=torch.uint8)
    assert taken_for(prediction, truth, ["sky", "tree", "car"]) == [
        ("sky", "tree", pytest.approx(2 / 3)),
        ("tree", "sky", pytest.approx(1 / 3)),
    ]


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
