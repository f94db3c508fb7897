import numpy as np
import pytest
from trees import fails, ids, voc, voc_tree

from eln_kit.data import read_mask
from eln_kit.data.classes import bit_colors, palette


@pytest.mark.parametrize("root", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_found_from_any_of_its_folders(tmp_path, root):
    voc_tree(tmp_path, ["2007_000032", "2007_000039"], ["2007_000033"])
    dataset = voc(tmp_path / root)
    assert ids(dataset.train) == ["2007_000032", "2007_000039"]
    assert ids(dataset.val) == ["2007_000033"]
    assert read_mask(dataset.train[0], dataset)[0, :4].tolist() == [0, 15, 255, 0]
    assert dataset.classes[15] == "person"
    assert len(dataset.classes) == len(dataset.colors) == 21


def test_voc_with_aug_trains_on_all_its_masks_but_those_of_validation(tmp_path):
    voc_tree(tmp_path, ["a"], ["v"], augmented=["a", "b", "v"])
    dataset = voc(tmp_path)
    assert ids(dataset.train) == ["a", "b"]
    assert {item.mask.parent.name for item in dataset.train} == {"SegmentationClassAug"}
    assert dataset.val[0].mask.parent.name == "SegmentationClass"


@pytest.mark.parametrize("name", ["train_aug.txt", "trainaug.txt"])
def test_voc_with_an_aug_list_trains_on_it(tmp_path, name):
    folder = voc_tree(tmp_path, ["a"], ["v"], augmented=["a", "b", "c"])
    (folder / "ImageSets/Segmentation" / name).write_text(
        "/JPEGImages/c.jpg /SegmentationClassAug/c.png\n/JPEGImages/a.jpg /SegmentationClassAug/a.png\n"
    )
    assert ids(voc(tmp_path).train) == ["c", "a"]


def test_voc_lists_that_name_absent_files_are_errors_that_name_list_and_id(tmp_path):
    folder = voc_tree(tmp_path, ["a", "b"], ["v"])
    (folder / "SegmentationClass/b.png").unlink()
    with fails(r"train\.txt: b has no mask SegmentationClass/b\.png"):
        voc(tmp_path)
    (folder / "JPEGImages/v.jpg").unlink()
    with fails(r"val\.txt: v has no image JPEGImages/v\.jpg"):
        voc(tmp_path)
    (folder / "ImageSets/Segmentation/val.txt").unlink()
    with fails(r"val\.txt: no such list"):
        voc(tmp_path)


def test_voc_elsewhere_is_an_error_that_names_the_knob(tmp_path):
    with fails(r"no VOCdevkit/VOC2012/JPEGImages below it; set data\.root"):
        voc(tmp_path)


def test_an_image_for_training_and_validation_is_an_error(tmp_path):
    voc_tree(tmp_path, ["a", "v"], ["v"])
    with fails(r"v\.jpg: is for training and for validation"):
        voc(tmp_path)


def test_vocs_colours_are_the_official_ones():
    official = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert bit_colors(6).tolist() == official
    assert bit_colors(21)[[8, 15, 16, 20]].tolist() == [[64, 0, 0], [192, 128, 128], [0, 64, 0], [0, 64, 128]]
    assert len(np.unique(bit_colors(255), axis=0)) == 255


@pytest.mark.parametrize("count", [2, 10, 11, 150])
def test_a_palette_has_a_colour_a_class(count):
    assert np.unique(palette(count), axis=0).shape == (count, 3)
