import pytest
import torch

from eln_kit.method.filters import plausible, surest, surest_of_each_class, thresholds

SCORE = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.3, 0.99, 0.5, 0.6]])
CLASSES = torch.tensor([[0, 0, 1, 1], [1, 0, 2, 2]])
ALL = torch.ones(2, 4, dtype=torch.bool)


def test_a_class_that_is_less_sure_has_a_lower_threshold():
    classes = torch.tensor([[0, 0, 1, 1, 2, 0]])
    confidence = torch.tensor([[1.0, 0.8, 0.6, 0.3, 0.9, 0.0]])
    among = torch.tensor([[True, True, True, True, True, False]])  # the last pixel is padding
    found = thresholds(0.5, confidence, classes, among, 4)
    assert found.tolist() == pytest.approx([0.5, 0.5 * 0.45 / 0.9, 0.5, 0])
    assert thresholds(0.5, confidence, classes, among & False, 4).tolist() == [0] * 4


def test_the_surest_pixels_are_kept_whatever_their_class():
    assert surest(SCORE, ALL, 0.25).tolist() == [[True, False, False, False], [False, True, False, False]]


def test_of_each_class_the_surest_are_kept_rounded_up():
    kept = surest_of_each_class(SCORE, CLASSES, ALL, 0.5)
    assert kept.tolist() == [[True, False, False, True], [True, True, False, True]]


@pytest.mark.parametrize("keep", [surest, lambda s, among, share: surest_of_each_class(s, CLASSES, among, share)])
def test_other_pixels_neither_count_nor_are_kept(keep):
    among = ALL.clone()
    among[1, 1] = among[1, 3] = False
    kept = keep(SCORE, among, 0.5)
    assert not kept[~among].any()
    assert kept.sum() in (3, 4)  # of six; of classes of 2, 3 and 1
    assert keep(SCORE, among, 1.0).equal(among)
    assert not keep(SCORE, ~ALL, 0.5).any()
    assert not keep(SCORE, ALL, 0.0).any()


def test_a_share_that_is_a_whole_number_of_pixels_is_that_number():
    many, one = torch.rand(25), torch.zeros(25, dtype=torch.long)
    assert surest_of_each_class(many, one, one == 0, 0.6).sum() == 15


def test_among_equal_scores_a_class_still_gets_its_share():
    kept = surest_of_each_class(torch.ones(1000), torch.arange(1000) % 4, torch.ones(1000, dtype=torch.bool), 0.3)
    assert torch.bincount(torch.arange(1000)[kept] % 4).tolist() == [75, 75, 75, 75]


def test_an_image_is_plausible_while_no_class_takes_more_of_it_than_of_labelled_ones():
    classes = torch.tensor([[[0, 0, 1, 1]], [[1, 1, 1, 0]], [[1, 1, 1, 0]]])
    among = torch.tensor([[[True] * 4], [[True] * 4], [[False, True, False, True]]])
    assert plausible(classes, among, torch.tensor([1.0, 0.5])).tolist() == [True, False, True]
    assert plausible(classes, among, torch.tensor([1.0, 0.75])).all()
    assert plausible(classes, among & False, torch.tensor([0.0, 0.0])).all(), "nothing is known of them"
