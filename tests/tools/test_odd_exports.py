"""Exports as people have them: copies in hidden folders, lost parts, odd sizes and names, other alphabets."""

import base64
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as any_
from PIL import Image
from test_exports import BOX, SIZE, STAR, bring, by_centres, flat, iou, masks_of, of, shape, write_coco, write_labelme
from trees import write_image

from eln_kit.faults import DataError
from eln_kit.paths import text_of
from eln_kit.tools.exports import READERS
from eln_kit.tools.exports.export import Export


@pytest.fixture
def export(tmp_path):
    for name in ("a", "b"):
        write_image(tmp_path / "export" / f"{name}.jpg", SIZE)
    return tmp_path / "export"


def brought(export, tmp_path, outline):
    """The masks of a COCO export of two images, of which `a` has this outline."""
    write_coco(export / "x.json", ["a.jpg", "b.jpg"], [of(0, 1, outline), of(1, 1, [flat(BOX)])])
    assert bring("coco", export, tmp_path / "out") == 0
    return masks_of(tmp_path / "out")[1]


@pytest.mark.parametrize("place", [".ipynb_checkpoints/x.json", "._x.json", "@eaDir/x.json", "__MACOSX/x.json"])
def test_copies_in_hidden_places_neither_win_nor_stop(export, tmp_path, place):
    write_coco(export / place, ["a.jpg"], [of(0, 2, [flat(BOX)])])
    if place.endswith("._x.json"):
        (export / place).write_bytes(b"\0\5\26\7")
    assert iou(brought(export, tmp_path, [flat(STAR)])["a"], by_centres(STAR), 1) >= 0.98


@pytest.mark.parametrize(
    "broken", [[1.0, 2.0, 3.0, 4.0], flat(BOX)[:-1], [np.nan, *flat(BOX)[1:]], [9e9, *flat(BOX)[1:]]]
)
def test_a_lost_part_of_an_annotation_is_a_note_with_an_example(export, tmp_path, broken, capsys):
    brought(export, tmp_path, [flat(STAR), broken])
    assert "1 annotations have a part that is no outline" in (told := capsys.readouterr().out)
    assert "annotation 0 of a.jpg" in told


@pytest.mark.parametrize("segmentation", [flat(STAR), [[flat(STAR)]], [list(map(list, STAR))]])
def test_outlines_that_are_nested_in_another_way_than_cocos_are_a_note(export, tmp_path, segmentation, capsys):
    write_coco(export / "x.json", ["a.jpg", "b.jpg"], [of(0, 1, segmentation), of(1, 1, [flat(BOX)])])
    assert bring("coco", export, tmp_path / "out") == 0
    assert "1 annotations have no outline" in capsys.readouterr().out


def test_why_there_are_no_labels_is_told_before_that_there_are_none(export, tmp_path, capsys):
    boxes = [{"image_id": 10 + n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in range(2)]
    write_coco(export / "x.json", ["a.jpg", "gone.jpg"], boxes)
    assert bring("coco", export, tmp_path / "out") == 1
    *notes, fault, _ = capsys.readouterr().out.splitlines()
    assert any("2 annotations have no outline" in line for line in notes)
    assert any("1 images are not there" in line for line in notes)
    assert fault.startswith("fix")
    assert "0 images that are there have labels" in fault


@pytest.mark.parametrize("size", [(None, None), (0, 0), (60.0, 80.0)])
def test_sizes_that_are_none_or_no_whole_numbers_are_the_images(export, tmp_path, size):
    write_coco(export / "x.json", ["a.jpg", "b%2Ejpg"], [of(0, 1, [flat(STAR)]), of(1, 1, [flat(BOX)])])
    content = json.loads((export / "x.json").read_text())
    content["images"] = [image | dict(zip(("height", "width"), size, strict=True)) for image in content["images"]]
    (export / "x.json").write_text(json.dumps(content))
    assert bring("coco", export, tmp_path / "out") == 0
    assert masks_of(tmp_path / "out")[1].keys() == {"a", "b"}


def test_equal_names_in_train_and_val_are_told_apart(tmp_path):
    root, outlines = tmp_path / "export", {"train": STAR, "val": BOX}
    for part, outline in outlines.items():
        for name in ("1.jpg", "2.jpg"):
            write_image(root / f"{part}2017" / name, SIZE)
        annotations = [of(image, 1, [flat(outline)]) for image in range(2)]
        write_coco(root / f"annotations/instances_{part}2017.json", ["1.jpg", "2.jpg"], annotations)
    assert bring("coco", root, tmp_path / "out") == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert (len(dataset.train), len(dataset.val), len(masks)) == (2, 2, 4)
    assert iou(masks[dataset.val[0].id], by_centres(BOX), 1) >= 0.95


@pytest.mark.parametrize("encoding", ["gb2312", "utf-16", "utf-8-sig", "latin-1"])
def test_class_names_in_other_encodings_are_read(tmp_path, encoding):
    name = "Größe" if encoding == "latin-1" else "树"
    root = tmp_path / "export"
    write_image(root / "JPEGImages/a.jpg", SIZE)
    write_image(root / "JPEGImages/b.jpg", SIZE)
    (root / "SegmentationClass").mkdir()
    for image in ("a", "b"):
        Image.new("RGB", SIZE[::-1], (9, 9, 9)).save(root / f"SegmentationClass/{image}.png")
    (root / "labelmap.txt").write_bytes(f"background:0,0,0::\n{name}:9,9,9::\n".encode(encoding))
    assert bring("labelmap", root, tmp_path / "out") == 0
    assert masks_of(tmp_path / "out")[0].classes == ["background", name]


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"a\0b")
    with pytest.raises(ValueError, match="no text"):
        text_of(tmp_path / "x")


def test_an_image_that_a_labelme_file_holds_inside_is_taken_where_its_file_is_missing(export, tmp_path):
    for name in ("a", "b"):
        inside = base64.b64encode((export / f"{name}.jpg").read_bytes()).decode() if name == "b" else None
        write_labelme(export / f"{name}.json", [shape("x", BOX)], f"..\\pictures\\{name}.jpg")
        content = json.loads((export / f"{name}.json").read_text())
        (export / f"{name}.json").write_text(json.dumps(content | {"imageData": inside}))
    image = (export / "b.jpg").read_bytes()
    (export / "b.jpg").unlink()
    assert bring("labelme", export, tmp_path / "out") == 0
    assert masks_of(tmp_path / "out")[1].keys() == {"a", "b"}
    (copy,) = (tmp_path / "out/images").rglob("b.jpg")
    assert copy.read_bytes() == image


KEYS = ["images", "annotations", "categories", "shapes", "id", "segmentation", "points", "label", "imagePath"]
KEYS += ["imageData", "image_id", "category_id", "file_name", "name", "height", "width"]
JSON = any_.recursive(
    any_.none() | any_.booleans() | any_.floats() | any_.integers(-9, 99) | any_.text(max_size=3),
    lambda inner: any_.lists(inner, max_size=3) | any_.dictionaries(any_.sampled_from(KEYS), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", ["coco", "labelme"])
@settings(max_examples=40, deadline=None)
@given(content=JSON)
def test_no_json_makes_a_reader_fail_with_anything_but_a_line(tmp_path_factory, kind, content):
    root = tmp_path_factory.mktemp("any")
    if isinstance(content, dict):
        empty = {"images": [], "annotations": [], "categories": [], "shapes": []}
        content = empty | content
    (root / "x.json").write_text(json.dumps(content))
    with suppress(DataError):
        READERS[kind](root, Export(root))


@settings(max_examples=40, deadline=None)
@given(content=any_.binary(max_size=30) | any_.text(max_size=30).map(str.encode))
@pytest.mark.parametrize("kind", READERS)
def test_no_bytes_make_a_reader_fail_with_anything_but_a_line(tmp_path_factory, kind, content):
    root = tmp_path_factory.mktemp("any")
    write_image(root / "SegmentationClass/a.png", SIZE)
    write_image(root / "JPEGImages/a.png", SIZE)
    (root / {"labelmap": "labelmap.txt"}.get(kind, "x.json")).write_bytes(content)
    with suppress(DataError):
        READERS[kind](root, Export(root))
