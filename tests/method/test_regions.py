import random

import torch

from eln_kit.method.regions import at_features, mix, random_boxes, random_windows


def test_windows_lie_inside_the_map_and_a_small_map_is_one_window():
    assert random_windows((8, 10), (32, 32), 5) == [(slice(0, 8), slice(0, 10))]
    windows = random_windows((40, 20), (16, 16), 50)
    assert len(windows) == 50
    for y, x in windows:
        assert 0 <= y.start < y.stop <= 40
        assert 0 <= x.start < x.stop <= 20
        assert y.stop - y.start == x.stop - x.start == 16
    assert len({(y.start, x.start) for y, x in windows}) > 10


def test_a_box_is_one_rectangle_of_at_most_the_share_that_is_wanted():
    random.seed(0)
    for box in random_boxes(torch.zeros(50, 30, 40), probability=1.0):
        rows, columns = box.any(dim=1), box.any(dim=0)
        assert torch.equal(box, rows[:, None] & columns)
        assert 0 < box.float().mean() < 0.42


def test_boxes_come_with_their_probability():
    random.seed(0)
    share = random_boxes(torch.zeros(400, 8, 8), probability=0.25).flatten(1).any(dim=1).float().mean()
    assert 0.15 < share < 0.35
    assert not random_boxes(torch.zeros(10, 8, 8), probability=0.0).any()


def test_cutmix_takes_the_previous_image_inside_the_box_and_nothing_outside():
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 4, 4)
    boxes = torch.zeros(3, 4, 4, dtype=torch.bool)
    boxes[1, :2] = True
    mixed = mix(images, boxes)
    assert (mixed[1, :, :2] == 0).all()
    assert (mixed[1, :, 2:] == 1).all()
    assert torch.equal(mixed[[0, 2]], images[[0, 2]])
    assert torch.equal(mix(images[:, 0], boxes), mixed[:, 0])
    assert mix(images, None) is images


def test_boxes_are_sampled_where_feature_maps_lie():
    boxes = torch.zeros(1, 9, 9, dtype=torch.bool)
    boxes[:, :5, :5] = True  # of 9 pixels the cells of a 3 x 3 map lie at 0, 4 and 8
    assert at_features(boxes, (3, 3)).tolist() == [[[True, True, False], [True, True, False], [False] * 3]]
