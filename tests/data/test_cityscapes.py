import pytest
from torchvision.datasets import Cityscapes
from trees import (
    cityscapes,
    cityscapes_tree,
    fails,
    ids,
)

from eln_kit.data import VOID, read_mask

FRAMES = {"train": ["aachen_000000_000019", "bochum_000000_000313"], "val": ["lindau_000000_000019"]}


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_of_either_kind_of_mask_has_the_19_classes(tmp_path, kind):
    dataset = cityscapes(cityscapes_tree(tmp_path, FRAMES, kind))
    assert ids(dataset.train) == ["aachen/aachen_000000_000019", "bochum/bochum_000000_000313"]
    assert ids(dataset.val) == ["lindau/lindau_000000_000019"]
    assert read_mask(dataset.val[0], dataset)[0, :4].tolist() == [0, 13, 255, 0]
    assert (dataset.classes[0], dataset.classes[13], dataset.classes[18]) == ("road", "car", "bicycle")
    assert dataset.colors[13].tolist() == [0, 0, 142]
    assert len(dataset.classes) == len(dataset.colors) == 19


def test_every_label_id_of_cityscapes_becomes_its_train_id_or_void(tmp_path):
    dataset = cityscapes(cityscapes_tree(tmp_path, FRAMES))
    for c in Cityscapes.classes:
        assert dataset.mask_values[c.id] == (c.train_id if 0 <= c.train_id < 19 else VOID)
    assert (dataset.mask_values[34:] == VOID).all()


def test_cityscapes_with_train_ids_for_some_images_only_uses_label_ids_for_all(tmp_path):
    cityscapes_tree(tmp_path, FRAMES)
    cityscapes_tree(tmp_path, {"train": FRAMES["train"]}, "labelTrainIds")
    dataset = cityscapes(tmp_path)
    assert {item.mask.name.split("_")[-1] for item in dataset.train + dataset.val} == {"labelIds.png"}


def test_cityscapes_without_a_mask_is_unlabelled_in_training_and_an_error_in_validation(tmp_path):
    cityscapes_tree(tmp_path, FRAMES)
    dataset = cityscapes(tmp_path)
    dataset.train[1].mask.unlink()
    assert [item.mask is None for item in cityscapes(tmp_path).train] == [False, True]
    dataset.val[0].mask.unlink()
    with fails(r"lindau_000000_000019_leftImg8bit\.png: a validation image needs a mask"):
        cityscapes(tmp_path)


def test_cityscapes_elsewhere_is_an_error_that_names_the_knob(tmp_path):
    with fails(r"leftImg8bit/train: no such folder; set data\.root"):
        cityscapes(tmp_path)
