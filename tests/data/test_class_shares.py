"""Weights of classes, by hand: an image has 12 x 16 pixels, and a class that is not its first one column of 12."""

import pytest
import torch
from trees import masked_dataset

from eln_kit.data import class_weights, largest_shares

SHARES = 372 / 384, 12 / 384  # of classes 0 and 1 in two images, of which one has class 1


def test_weights_fall_with_a_classs_share_of_its_images_and_a_pixel_weighs_1_on_average(tmp_path):
    dataset = masked_dataset(tmp_path, [(0, 1), (0,)], classes=3)
    weights = class_weights(dataset.train, dataset).tolist()
    frequencies = 372 / 384, 12 / 192
    assert weights[1] / weights[0] == pytest.approx((frequencies[0] / frequencies[1]) ** 0.5)
    assert sum(w * share for w, share in zip(weights, SHARES, strict=False)) == pytest.approx(1)
    assert weights[2] == 1  # no image has it


def test_void_has_no_share_of_the_weights(tmp_path):
    dataset = masked_dataset(tmp_path, [(0, 1, 255), (0, 1)], classes=2)
    weights = class_weights(dataset.train, dataset)
    assert (weights[1] / weights[0]).item() == pytest.approx(((168 + 180) / 24) ** 0.5)


def test_the_largest_share_of_a_crop_is_that_of_a_crop_which_a_class_fills_most(tmp_path, tiny):
    dataset = masked_dataset(tmp_path, [(0, 1), (0,)], classes=3)
    params = tiny({"views.crop": [16, 16], "views.scale": [1, 1]})
    largest = largest_shares(dataset.train, dataset, params)
    assert largest.tolist() == pytest.approx([1, 1 / 16, 0])
    assert torch.equal(largest, largest_shares(dataset.train, dataset, params))
