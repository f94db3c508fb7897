"""dataset.yaml says what the values and colours of masks mean."""

import numpy as np
import pytest
from PIL import Image
from trees import fails, folder, folder_tree, write_image

from eln_kit.data import VOID, read_mask
from eln_kit.data.classes import read_classes
from eln_kit.tools.survey import survey

RED, BLUE, BLACK = (204, 0, 0), (0, 0, 204), (0, 0, 0)
IN_COLOR = "classes: [{name: sky, color: [204, 0, 0]}, {name: sea, color: [0, 0, 204]}]"


def tree(root, yaml, pixels, mode=None, name="00.png"):
    """A tree whose every mask holds `pixels`, H x W or H x W x 3, beside a dataset.yaml."""
    folder_tree(root, train=2, val=1)
    for old in root.glob("masks/*/*.png"):
        image = Image.fromarray(np.asarray(pixels, np.uint8))
        write_image(root / "images" / old.parent.name / old.name, image.size[::-1])
        old.unlink()
        (image.convert(mode) if mode else image).save(old.with_name(name.replace("00", old.stem)))
    (root / "dataset.yaml").write_text(yaml)
    return root


def read(root):
    dataset = folder(root)
    return read_mask(dataset.train[0], dataset).tolist()


def test_a_class_has_the_value_or_the_values_that_the_list_gives_it(tmp_path):
    yaml = "classes: [{name: a, value: 7}, {name: b, values: [3, 255]}]\nvoid: 0"
    assert read(tree(tmp_path, yaml, [[7, 3, 255, 0]])) == [[0, 1, 1, VOID]]


def test_classes_without_values_are_numbered_from_0_past_void(tmp_path):
    assert read(tree(tmp_path / "a", "{classes: [a, b], void: [0, 255]}", [[0, 1, 2, 255]])) == [[VOID, 0, 1, VOID]]
    assert read(tree(tmp_path / "b", "classes: [a, b]", [[0, 1, 1, 255]])) == [[0, 1, 1, VOID]]


def test_a_class_of_value_255_is_a_class_unless_void_says_otherwise(tmp_path):
    yaml = "classes: [{name: a, value: 0}, {name: b, value: 255}]"
    assert read(tree(tmp_path / "a", yaml, [[0, 255]])) == [[0, 1]]
    with fails(r"dataset\.yaml: void has the same value 255 as class b; change one"):
        folder(tree(tmp_path / "b", f"{yaml}\nvoid: 255", [[0, 255]]))


def test_a_list_may_have_a_mark_of_its_encoding_and_empty_entries(tmp_path):
    (tmp_path / "c.yaml").write_bytes("classes: [é, b]\nvoid:\nmask_suffix:\n".encode("utf-16"))
    classes = read_classes(tmp_path / "c.yaml")
    assert (classes.names, classes.void, classes.mask_suffix) == (["é", "b"], None, None)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_masks_are_read_by_the_colours_of_the_list_and_it_is_said(tmp_path, mode):
    dataset = folder(tree(tmp_path, IN_COLOR, [[RED, BLUE]], mode))
    assert read_mask(dataset.val[0], dataset).tolist() == [[0, 1]]
    assert "masks are in colour and read by colour" in dataset.notes[0]


def test_masks_that_the_list_calls_colour_are_so_even_with_a_palette_and_nothing_is_guessed(tmp_path):
    dataset = folder(tree(tmp_path, IN_COLOR + "\nmasks: colour", [[RED, BLUE]], "P"))
    assert read_mask(dataset.val[0], dataset).tolist() == [[0, 1]]
    assert dataset.notes == ()


def test_black_and_white_masks_in_colour_are_told_by_the_colours_of_the_classes(tmp_path):
    yaml = "classes: [{name: a, color: [0, 0, 0]}, {name: b, color: [255, 255, 255]}]"
    assert read(tree(tmp_path, yaml, [[(0, 0, 0), (255, 255, 255)]])) == [[0, 1]]


def test_indices_in_three_equal_channels_are_indices_whatever_colours_the_list_has(tmp_path):
    dataset = folder(tree(tmp_path, IN_COLOR, [[(0, 0, 0), (1, 1, 1), (255, 255, 255)]]))
    assert read_mask(dataset.train[0], dataset).tolist() == [[0, 1, VOID]]
    assert dataset.notes == ()


def test_void_may_be_a_colour(tmp_path):
    assert read(tree(tmp_path, IN_COLOR + "\nvoid: [[0, 0, 0]]", [[RED, BLACK, BLUE]])) == [[0, VOID, 1]]
    assert read(tree(tmp_path, IN_COLOR + "\nvoid: 0", [[RED, BLACK, BLUE]])) == [[0, VOID, 1]]


def test_each_colour_that_no_class_has_is_named_with_its_count_and_a_file(tmp_path):
    dataset = folder(tree(tmp_path, IN_COLOR, [[RED, BLUE, (1, 2, 3), (1, 2, 3), BLACK]]))
    with pytest.raises(Exception, match="no class") as error:
        survey(dataset)
    first, second = str(error.value).splitlines()
    assert "train/00.png: colour [1, 2, 3] is no class" in first
    assert "(6 pixels in 3 masks)" in first
    assert "colour [0, 0, 0] is no class" in second


def test_values_that_no_class_has_are_at_most_eight_lines(tmp_path):
    dataset = folder(tree(tmp_path, "classes: [a, b]", [range(30)]))
    with pytest.raises(Exception, match="no class") as error:
        survey(dataset)
    assert len(lines := str(error.value).splitlines()) == 9
    assert lines[-1] == "and 20 more values that are no class"


def test_masks_numbered_from_1_without_a_list_are_classes_from_1_and_it_is_said(tmp_path):
    root = tree(tmp_path, "", [[1, 2, 3, 255]])
    (root / "dataset.yaml").unlink()
    dataset = folder(root)
    assert dataset.classes == ["class 1", "class 2", "class 3"]
    assert read_mask(dataset.train[0], dataset).tolist() == [[0, 1, 2, VOID]]
    assert "no mask has 0, so the classes are 1 to 3" in dataset.notes[0]


@pytest.mark.parametrize("values", [(0, 255), (0, 128, 255), (0, 5)])
def test_values_with_gaps_are_an_error_that_shows_the_list_to_write(tmp_path, values):
    root = tree(tmp_path, "", [values])
    (root / "dataset.yaml").unlink()
    entries = ", ".join(f"{{name: .., value: {value}}}" for value in values)
    void = "no value but 0 and 255, which is void; .*" if values == (0, 255) else ""
    with fails(rf"{void}dataset\.yaml: `classes: \[{entries}\]`"):
        folder(root)


@pytest.mark.parametrize("name", ["00_mask.png", "00.jpg.png", "00.png", "00.tif", "00.bmp", "00.gif"])
def test_the_usual_names_and_lossless_kinds_of_masks_are_found_and_read(tmp_path, name):
    root = tree(tmp_path, "classes: [a, b, c]", [[0, 2, 255, 2]], name=name)
    assert read(root) == [[0, 2, VOID, 2]]
    assert folder(root).unused == ()


def test_a_suffix_that_the_list_gives_tells_masks_from_other_files_beside_them(tmp_path):
    root = tree(tmp_path, "{classes: [a, b], mask_suffix: -gt}", [[0, 1]], name="00-gt.png")
    write_image(root / "masks/train/00.png")
    dataset = folder(root)
    assert dataset.train[0].mask == root / "masks/train/00-gt.png"
    assert dataset.unused == (root / "masks/train/00.png",)


def test_two_masks_of_one_image_are_an_error(tmp_path):
    root = tree(tmp_path, "classes: [a, b]", [[0, 1]], name="00_mask.png")
    write_image(root / "masks/train/00.png")
    with fails(r"00_mask\.png: is a mask of \S*00\.png, as \S*masks/train/00\.png is; remove one"):
        folder(root)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("{classes: [a, b], voids: 0}", "voids is not known here; write classes, void"),
        ("classes: [{name: a, colour: [1, 2, 3]}, b]", "class a: colour is not known here; write name, color"),
        ("classes: [{name: a, value: 1}, b]", "either every class should have a `value`"),
        ("classes: [{name: a, value: 1}, {name: b, values: [2, 1]}]", "class b has the same value 1 as class a"),
        ("classes: [{name: a, value: 300}, {name: b, value: 2}]", "value 300 should be a whole number"),
        ("{classes: [a, b], void: [[1, 2]]}", "void should be three whole numbers"),
        ("{classes: [a, b], void: [[1, 2, 3]]}", "void should be values"),
        ("{classes: [a, b], masks: rgb}", "mask_suffix should be text such as _mask, and masks color or index"),
        ("{classes: [a, b], masks: [color]}", "mask_suffix should be text"),
        ("{classes: [a, b], mask_suffix: [_mask]}", "mask_suffix should be text"),
        ("{classes: [a, b], void: {a: 1}}", "value .* should be a whole number"),
        (f"{{classes: {list(range(250))}, void: {list(range(20))}}}", "too many classes to be told from void"),
        (IN_COLOR.replace("0, 0, 204", "204, 0, 0") + "\nmasks: color", "class sea has the same color as class sky"),
    ],
)
def test_a_list_that_cannot_be_meant_is_one_line(tmp_path, yaml, message):
    with fails(rf"dataset\.yaml: {message}"):
        folder(tree(tmp_path, yaml, [[0, 1]]))
