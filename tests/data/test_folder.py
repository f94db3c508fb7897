import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trees import (
    fails,
    folder,
    folder_tree,
    ids,
    write_image,
    write_mask,
)

from eln_kit.data import VOID, Item, groups_of, open_dataset, read_image, read_mask
from eln_kit.data.classes import read_classes
from eln_kit.params import Data

PROJECT = Path(__file__).parents[2]
SHARED = PROJECT.parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")


def test_a_folder_has_labelled_and_unlabelled_images(tmp_path):
    dataset = folder(folder_tree(tmp_path, train=2, val=1, unlabeled=1))
    assert ids(dataset.train) == ["00", "01", "02"]
    assert [item.mask is None for item in dataset.train] == [False, False, True]
    assert ids(dataset.val) == ["00"]
    assert dataset.classes == ["class 0", "class 1"]
    assert dataset.colors.shape == (2, 3)
    assert dataset.colors.dtype == np.uint8
    assert dataset.mask_values is None


@pytest.mark.parametrize(
    ("groups", "expected"), [("", ["a/1_x", "b/1_y"]), ("folder", ["a", "b"]), ("'./[0-9]+'", ["a/1", "b/1"])]
)
def test_images_are_grouped_as_the_data_set_says(tmp_path, groups, expected):
    folder_tree(tmp_path, train=1, val=1)
    (tmp_path / "dataset.yaml").write_text(f"classes: [a, b]\ngroups: {groups}\n")
    items = [Item(id, tmp_path / id) for id in ("a/1_x", "b/1_y")]
    assert groups_of(items, folder(tmp_path)) == expected


def test_a_pattern_of_groups_that_is_none_is_told(tmp_path):
    (tmp_path / "dataset.yaml").write_text("classes: [a, b]\ngroups: '['\n")
    with fails("groups should be `folder`, or a pattern"):
        read_classes(tmp_path / "dataset.yaml")


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
    write_mask(tmp_path / "d/masks/train/00.jpg")
    (tmp_path / "d/masks/train/00.png").unlink()
    with fails(r"masks/train/00\.jpg: save masks as PNG"):
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
    with fails(r"gone\.yaml: no such file of classes; correct data\.classes"):
        folder(folder_tree(tmp_path), classes=str(tmp_path / "gone.yaml"))
    with fails(r"mine\.yaml: data\.classes is for data\.name=folder"):
        open_dataset(Data(name="voc", root=str(tmp_path), classes="mine.yaml"))


@needs_shared
def test_camvid_has_its_images_classes_and_void():
    classes = str(PROJECT / "params" / "camvid_classes.yaml")
    dataset = folder(SHARED / "camvid", classes=classes)
    assert (len(dataset.train), len(dataset.val), len(dataset.classes)) == (367, 101, 11)
    assert read_image(dataset.train[0]).shape == (3, 360, 480)
    values = torch.cat([read_mask(item, dataset).unique() for item in dataset.train[::20]]).unique()
    assert values.tolist() == [*range(11), VOID]


def test_an_unlabelled_image_of_the_name_of_a_training_image_is_refused(tmp_path):
    for name in ("train/unlabeled/x", "train/y", "val/z", "unlabeled/x"):
        write_image(tmp_path / "images" / f"{name}.png", (8, 8))
    for name in ("train/unlabeled/x", "train/y", "val/z"):
        write_mask(tmp_path / "masks" / f"{name}.png", (0, 1), (8, 8))
    with fails(r"images/train/unlabeled/x and images/unlabeled/x have the same id"):
        folder(tmp_path)


def test_palettes_that_order_the_classes_colours_differently_are_read_by_colour(tmp_path):
    folder_tree(tmp_path, train=2, val=1)
    colors = {"red": [255, 0, 0], "green": [0, 255, 0]}
    classes = "".join(f"  - {{name: {name}, color: {color}}}\n" for name, color in colors.items())
    (tmp_path / "dataset.yaml").write_text(f"classes:\n{classes}")
    values = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % 2
    for place, order in {"train/00": "red green", "train/01": "green red", "val/00": "red green"}.items():
        file = Image.fromarray(values).convert("P")
        file.putpalette([value for each in order.split() for value in colors[each]])
        file.save(tmp_path / f"masks/{place}.png")
    dataset = folder(tmp_path)
    assert any("read by colour" in note for note in dataset.notes)
    one, other = (read_mask(item, dataset).numpy() for item in dataset.train)
    assert (one == values).all()
    assert (other == 1 - values).all()
