import math

import pytest
import torch

from eln_kit.outcome.errors import boundary_distance, overlap, taken_for, wrong_pixels


def test_void_pixels_are_not_wrong():
    truth = torch.tensor([[0, 1, 255, 1]], dtype=torch.uint8)
    prediction = torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8)
    assert wrong_pixels(prediction, truth).tolist() == [[False, True, False, False]]


def test_a_boundary_is_where_another_class_is_and_void_makes_none():
    row = torch.tensor([[0, 0, 0, 0, 1, 1, 255, 255, 1, 1]], dtype=torch.uint8)
    assert boundary_distance(row).tolist() == [[4, 3, 2, 1, 1, 2, 10, 10, 5, 6]]
    assert (boundary_distance(torch.zeros(2, 5)) == 5).all(), "there is none"


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
