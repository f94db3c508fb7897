import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import Cityscapes
from trees import cityscapes_tree, folder_tree, masked_dataset, voc_tree, write_image, write_mask

from eln_kit.data import VOID, DataError, Item, open_dataset, read_image, read_mask
from eln_kit.data.folder import read_classes
from eln_kit.data.palette import bit_colors, palette
from eln_kit.params import Data

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")


def folder(root, **knobs):
    return open_dataset(Data(name="folder", root=str(root), **knobs))


def voc(root):
    return open_dataset(Data(name="voc", root=str(root)))


def cityscapes(root):
    return open_dataset(Data(name="cityscapes", root=str(root)))


def fails(message):
    """The block raises a DataError of one line that has `message` in it."""
    return pytest.raises(DataError, match=rf"\A[^\n]*{message}[^\n]*\Z")


def ids(items):
    return [item.id for item in items]


# images


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.bmp", "a.tif", "a.webp"])
def test_an_image_is_three_channels_of_uint8(tmp_path, name):
    image = read_image(Item("a", write_image(tmp_path / name, (6, 9), value=100)))
    assert image.shape == (3, 6, 9)
    assert image.dtype == torch.uint8
    assert abs(image.int() - 100).max() <= 2


def test_grey_is_repeated_and_alpha_ignored(tmp_path):
    Image.fromarray(np.array([[0, 77]], np.uint8)).save(tmp_path / "grey.png")
    assert read_image(Item("grey", tmp_path / "grey.png")).tolist() == [[[0, 77]]] * 3
    Image.fromarray(np.array([[[1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8)).save(tmp_path / "alpha.png")
    assert read_image(Item("alpha", tmp_path / "alpha.png")).flatten(1).T.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bit_grey_is_scaled_to_eight(tmp_path, name):
    Image.fromarray(np.array([[0, 257 * 128, 65535]], np.uint16)).save(tmp_path / name)
    assert read_image(Item("deep", tmp_path / name)).tolist() == [[[0, 128, 255]]] * 3


def test_a_photograph_on_its_side_is_turned_upright_and_its_mask_fits(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # the left half of the file is the top of the upright image
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    dataset = masked_dataset(tmp_path, [(0, 1)])
    item = Item("a", tmp_path / "a.jpg", write_mask(tmp_path / "a.png", size=(16, 8)))
    image = read_image(item)
    assert image.shape == (3, 16, 8)
    assert image[:, :7].min() > 200
    assert image[:, 9:].max() < 55
    assert read_mask(item, dataset).shape == (16, 8)


def test_a_broken_image_is_an_error_that_names_it(tmp_path):
    path = write_image(tmp_path / "cut.png", (64, 64))
    path.write_bytes(path.read_bytes()[:2000])
    with fails(r"cut\.png: cannot be read as an image"):
        read_image(Item("cut", path))
    (tmp_path / "text.jpg").write_text("no image")
    with fails(r"text\.jpg: cannot be read"):
        read_image(Item("text", tmp_path / "text.jpg"))
    with fails(r"gone\.jpg: cannot be read as an image \(no such file\)"):
        read_image(Item("gone", tmp_path / "gone.jpg"))
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with fails(r"float\.tif: holds floating-point"):
        read_image(Item("float", tmp_path / "float.tif"))


# masks


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_mask_is_indices_and_void_whatever_its_palette(tmp_path, mode):
    dataset = masked_dataset(tmp_path, [(0, 1)])
    item = Item("a", write_image(tmp_path / "a.png"), write_mask(tmp_path / "m.png", (3, 5, VOID), mode=mode))
    mask = read_mask(item, dataset)
    assert mask.shape == (12, 16)
    assert mask.dtype == torch.uint8
    assert mask[0, :4].tolist() == [3, 5, VOID, 3]


def test_a_mask_of_another_size_is_an_error_that_names_both_files_and_sizes(tmp_path):
    item = Item("a", write_image(tmp_path / "a.jpg"), write_mask(tmp_path / "m.png", size=(12, 15)))
    with fails(r"m\.png: 15 x 12 pixels, but its image \S*a\.jpg has 16 x 12"):
        read_mask(item, masked_dataset(tmp_path, [(0, 1)]))


def test_a_class_out_of_range_is_an_error_that_names_values_and_range(tmp_path):
    item = Item("a", write_image(tmp_path / "a.jpg"), write_mask(tmp_path / "m.png", (0, 6, 254, VOID)))
    with fails(r"m\.png: value 6, 254 is no class; valid are 0 to 5"):
        read_mask(item, masked_dataset(tmp_path, [(0, 1)]))


def test_a_mask_in_colour_of_large_values_or_broken_is_an_error(tmp_path):
    dataset = masked_dataset(tmp_path, [(0, 1)])
    image = write_image(tmp_path / "a.jpg")
    with fails(r"m\.png: a colour image \(RGB\)"):
        read_mask(Item("a", image, write_image(tmp_path / "m.png")), dataset)
    Image.fromarray(np.full((12, 16), 300, np.uint16)).save(tmp_path / "deep.png")
    with fails(r"deep\.png: values 300 to 300"):
        read_mask(Item("a", image, tmp_path / "deep.png"), dataset)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    with fails(r"cut\.png: cannot be read"):
        read_mask(Item("a", image, tmp_path / "cut.png"), dataset)


# folder


def test_a_folder_has_labelled_and_unlabelled_images(tmp_path):
    dataset = folder(folder_tree(tmp_path, train=2, val=1, unlabeled=1))
    assert ids(dataset.train) == ["00", "01", "02"]
    assert [item.mask is None for item in dataset.train] == [False, False, True]
    assert ids(dataset.val) == ["00"]
    assert dataset.classes == ["class 0", "class 1"]
    assert dataset.colors.shape == (2, 3)
    assert dataset.colors.dtype == np.uint8
    assert dataset.mask_values is None


def test_ids_have_sub_folders_and_endings_of_any_case_and_hidden_files_are_passed_over(tmp_path):
    folder_tree(tmp_path, train=1, val=1)
    write_image(tmp_path / "images/train/city/a.b.JPG.png").rename(tmp_path / "images/train/city/a.b.JPG")
    write_mask(tmp_path / "masks/train/city/a.b.png").rename(tmp_path / "masks/train/city/a.b.PNG")
    write_image(tmp_path / "images/train/.hidden.png")
    write_image(tmp_path / "images/train/.cache/x.png")
    write_mask(tmp_path / "masks/train/._00.png")
    (tmp_path / "images/train/notes.txt").write_text("no image")
    dataset = folder(tmp_path)
    assert ids(dataset.train) == ["00", "city/a.b"]
    assert dataset.train[1].mask is not None


def test_bad_trees_are_errors_that_name_the_file(tmp_path):
    folder_tree(tmp_path / "a")
    write_mask(tmp_path / "a/masks/train/lost.png")
    with fails(r"masks/train/lost\.png: has no image"):
        folder(tmp_path / "a")
    folder_tree(tmp_path / "b")
    (tmp_path / "b/masks/val/01.png").unlink()
    with fails(r"images/val/01\.png: a validation image needs a mask"):
        folder(tmp_path / "b")
    folder_tree(tmp_path / "c")
    write_image(tmp_path / "c/images/train/00.jpg")
    with fails(r"images/train/00\.png: has the same id as \S*00\.jpg"):
        folder(tmp_path / "c")
    folder_tree(tmp_path / "d")
    write_mask(tmp_path / "d/masks/train/00.bmp")
    (tmp_path / "d/masks/train/00.png").unlink()
    with fails(r"masks/train/00\.bmp: save masks as PNG"):
        folder(tmp_path / "d")


def test_a_missing_folder_is_an_error_that_names_the_knob(tmp_path):
    with fails(rf"{re.escape(str(tmp_path))}/absent: no such folder; set data\.root"):
        folder(tmp_path / "absent")
    with fails(r"data\.root: no such folder"):
        folder("")
    with fails(r"images/train: no such folder; data\.root should hold images/train and images/val"):
        folder(tmp_path)


def test_an_empty_split_or_one_without_masks_is_an_error(tmp_path):
    (tmp_path / "a/images/train").mkdir(parents=True)
    folder_tree(tmp_path / "a", train=0)
    with fails("no training images"):
        folder(tmp_path / "a")
    (tmp_path / "b/images/val").mkdir(parents=True)
    folder_tree(tmp_path / "b", val=0)
    with fails("no validation images"):
        folder(tmp_path / "b")
    with fails("no training image has a mask"):
        folder(folder_tree(tmp_path / "c", train=0, unlabeled=3))


def test_classes_come_from_yaml_in_the_root_or_beside_the_params(tmp_path):
    folder_tree(tmp_path)
    (tmp_path / "dataset.yaml").write_text("classes: [no, 1, sky]")
    assert folder(tmp_path).classes == ["no", "1", "sky"]
    (tmp_path / "mine.yaml").write_text("classes: [{name: road, color: [1, 2, 3]}, {name: sky}]")
    dataset = folder(tmp_path, classes=str(tmp_path / "mine.yaml"))
    assert dataset.classes == ["road", "sky"]
    assert dataset.colors[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: 3", "should be `classes:` and a list"),
        ("colours: [a, b]", "should be `classes:` and a list"),
        ("classes: [a]", "should be .* of 2 to 255 names"),
        ("classes: [a, a]", "class 'a' should be a name that no other"),
        ("classes: [a, {color: [1, 2, 3]}]", "class None should be"),
        ("classes: [a, {name: b, color: [1, 2]}]", "class b: color should be three"),
        ("classes: [a, {name: b, color: [1, 2, 256]}]", "class b: color should be three"),
        ("classes: [a, {name: b, color: red}]", "class b: color should be three"),
        ("classes: [a", "cannot be read as YAML"),
    ],
)
def test_a_bad_file_of_classes_is_an_error_that_names_it(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with fails(rf"c\.yaml: {message}"):
        read_classes(tmp_path / "c.yaml")


def test_a_missing_file_of_classes_is_an_error_that_names_the_knob(tmp_path):
    with fails(r"gone\.yaml: no such file of classes; mend data\.classes"):
        folder(folder_tree(tmp_path), classes=str(tmp_path / "gone.yaml"))
    with fails(r"mine\.yaml: data\.classes is for data\.name=folder"):
        open_dataset(Data(name="voc", root=str(tmp_path), classes="mine.yaml"))


def test_masks_of_0_and_255_are_an_error_since_255_is_void(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / "images" / split / "a.png")
        write_mask(tmp_path / "masks" / split / "a.png", (0, 255))
    with fails("no value but 0 and 255, which is void"):
        folder(tmp_path)


# VOC


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


# Cityscapes

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


# the real data beside the repository


@needs_shared
def test_camvid_has_its_images_classes_and_void():
    classes = str(PROJECT / "params" / "camvid_classes.yaml")
    dataset = folder(SHARED / "camvid", classes=classes)
    assert (len(dataset.train), len(dataset.val), len(dataset.classes)) == (367, 101, 11)
    assert read_image(dataset.train[0]).shape == (3, 360, 480)
    values = torch.cat([read_mask(item, dataset).unique() for item in dataset.train[::20]]).unique()
    assert values.tolist() == [*range(11), VOID]


@needs_shared
def test_nuclei_have_three_sizes_and_three_channels():
    dataset = folder(SHARED / "nuclei", classes=str(PROJECT / "params" / "nuclei_classes.yaml"))
    assert (len(dataset.train), len(dataset.val), dataset.classes) == (160, 40, ["background", "nucleus"])
    shapes = set()
    for item in dataset.val:
        image, mask = read_image(item), read_mask(item, dataset)
        assert image.shape == (3, *mask.shape)
        shapes.add(tuple(mask.shape))
    assert shapes == {(256, 256), (256, 320), (360, 360)}


@needs_shared
def test_without_yaml_the_nuclei_have_the_two_classes_of_their_masks():
    assert folder(SHARED / "nuclei").classes == ["class 0", "class 1"]
