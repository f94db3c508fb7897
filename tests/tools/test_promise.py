import numpy as np
import pytest
import torch
from trees import fails

from eln_kit.tools.model import Found, level_of, levels_of
from eln_kit.tools.promise import NEVER, choose, histogram, kept, promised


def images(*pixels, count=1):
    """`count` images alike, each of which has (level, wrong, right) pixels of one class."""
    counts = np.zeros((count, 256, 2), dtype=int)
    for level, wrong, right in pixels:
        counts[:, level] += [wrong, right]
    return counts


def test_an_image_is_counted_by_class_trust_and_truth_without_void():
    mask, truth = np.array([[0, 1, 1, 1]], np.uint8), np.array([[0, 1, 0, 255]], np.uint8)
    counts = histogram(mask, np.array([[1.0, 0.5, 0.5, 0.5]]), truth, 2)
    assert counts.sum() == 3
    assert counts[0, 255].tolist() == [0, 1]
    assert counts[1, 128].tolist() == [1, 1]


def test_the_lowest_trust_is_taken_whose_pixels_are_right_often_enough():
    counts = images((200, 0, 90), (100, 1, 9), (50, 20, 0), count=300)
    assert promised(counts, 0.95) == 51, "with those of 50, 21 of 120 are wrong"
    assert promised(counts, 0.995) == NEVER, "300 images are too few"
    assert promised(images((200, 0, 9), (100, 1, 0), count=300), 0.98) == 101


def test_groups_are_the_units_where_images_are_of_groups():
    counts = images((200, 0, 10), count=234)  # 117 are needed for 0.98
    assert promised(counts, 0.98, [str(place // 2) for place in range(234)]) == 0
    assert promised(counts, 0.98, [str(place // 3) for place in range(234)]) == NEVER
    with fails("from 1 groups of labelled images"):
        choose(counts[:, None], 0.98, groups=["drive"] * 234)
    per_class = choose(counts[:, None], 0.98, per_class=True, groups=[str(place // 2) for place in range(234)])
    assert per_class.tolist() == [0]


def test_images_are_the_units_however_many_pixels_they_have():
    needed = 117  # log(1 / 0.1) / log(1.02)
    assert promised(images((200, 0, 10), count=needed), 0.98) == 0
    assert promised(images((200, 0, 10**6), count=needed - 1), 0.98) == NEVER


def test_levels_below_a_failure_are_not_tried():
    counts = images((250, 0, 1), (200, 10, 10), (100, 0, 10**6), count=300)
    assert promised(counts, 0.95) == 201, "although with the pixels of 100 nearly all would be right"


def test_a_level_that_keeps_nothing_promises_nothing():
    assert promised(images((200, 10, 10), count=300), 0.95) == NEVER


@pytest.mark.parametrize("precision", [0.95, pytest.param(0.9, marks=pytest.mark.nightly)])
def test_the_promise_fails_in_no_more_draws_than_it_says(precision):
    rng = np.random.default_rng(0)
    levels = np.arange(256)
    error = np.clip(0.3 * (1 - levels / 255), 0, 1)  # share of wrong pixels at each trust

    def draw(count):
        rates = np.clip(error * rng.gamma(1, size=(count, 1)), 0, 1)  # images differ
        wrong = rng.binomial(20, rates)
        return np.stack([wrong, 20 - wrong], axis=2)

    test = draw(20_000)[:, ::-1].cumsum(1)[:, ::-1]
    risk = (test[..., 0] / test.sum(2)).mean(0)
    found = [promised(draw(150), precision) for _ in range(200)]
    broken = sum(risk[level] > 1 - precision for level in found if level < NEVER)
    assert max(found) < NEVER
    assert broken <= 20


def test_each_class_has_its_own_level_from_the_images_it_is_predicted_in_and_a_rare_one_none():
    sure, unsure = images((200, 0, 9), count=200), images((200, 0, 9), (100, 9, 0), count=200)
    rare = np.concatenate([images((200, 0, 9), count=10), images(count=190)])
    counts = np.stack([sure, unsure, rare], axis=1)
    levels = choose(counts, 0.95, per_class=True)
    assert levels.tolist() == [0, 101, NEVER]
    assert kept(counts, levels).sum(0).tolist() == [[0, 1800], [0, 1800], [0, 0]]


def test_what_cannot_be_promised_is_one_line_that_says_how_many_images_it_takes_and_what_can_be():
    with fails(r"0\.99: cannot be promised from 200 .* takes 232; 0\.98 can be promised"):
        choose(images((200, 0, 9), count=200)[:, None], 0.99)
    with fails("the surest pixels err too often; add validation images"):
        choose(images((200, 9, 0), count=200)[:, None], 0.9)


def test_what_a_threshold_keeps_is_the_same_in_memory_and_in_files():
    trust = np.linspace(0, 1, 100_001).astype(np.float32).reshape(1, -1)
    mask = np.zeros(trust.shape, dtype=np.uint8)
    for threshold in (0.0, 0.5, 0.8, 0.95, 1.0):
        found = Found(torch.zeros(3, *trust.shape), mask, mask, trust, threshold, ["a", "b"], np.zeros((2, 3)))
        assert (found.keep == (levels_of(trust) >= level_of(threshold))).all()
        assert trust[found.keep].min() == pytest.approx(threshold, abs=1 / 255)
