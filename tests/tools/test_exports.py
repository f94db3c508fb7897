"""What labelling tools export becomes a folder of images and masks that training opens."""

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as lengths
from trees import folder, write_image

from eln_kit import cli
from eln_kit.data import VOID, read_mask

SIZE = (60, 80)


def bring(kind, root, out, *more):
    return cli.main(["data", kind, "--root", str(root), "--out", str(out), *more])


def masks_of(out):
    dataset = folder(out)
    items = [item for item in dataset.train + dataset.val if item.mask]
    return dataset, {item.id: read_mask(item, dataset).numpy() for item in items}


def drawn(*shapes):
    """A mask by PIL: `(class, method of ImageDraw, points)` one over the other."""
    canvas = Image.new("L", SIZE[::-1])
    for index, method, points in shapes:
        getattr(ImageDraw.Draw(canvas), method)(points, fill=index)
    return np.array(canvas)


def run_lengths(mask):
    coded = lengths.encode(np.asfortranarray(mask.astype(np.uint8)))
    return coded | {"counts": coded["counts"].decode()}


def flat(points):
    return [float(value) for point in points for value in point]


def iou(one, other, index):
    return ((one == index) & (other == index)).sum() / ((one == index) | (other == index)).sum()


def by_centres(points, size=SIZE, times=10):
    """The pixels whose centre lies in a polygon, by PIL in a larger picture."""
    canvas = Image.new("1", (size[1] * times, size[0] * times))
    ImageDraw.Draw(canvas).polygon([(x * times, y * times) for x, y in points], fill=1)
    return np.array(canvas)[times // 2 :: times, times // 2 :: times].astype(int)


def of(image, category, segmentation, **more):
    """An annotation of an image by its place and of a category by its number from 1 on."""
    return {"image_id": 10 + image, "category_id": category, "segmentation": segmentation, **more}


def write_coco(file, images, annotations, categories=("cat", "dog")):
    """`categories`: names, or `(name, supercategory)`."""
    pairs = [each if isinstance(each, tuple) else (each, "none") for each in categories]
    content = {
        "images": [{"id": 10 + n, "file_name": i, "height": 60, "width": 80} for n, i in enumerate(images)],
        "categories": [{"id": n, "name": name, "supercategory": over} for n, (name, over) in enumerate(pairs, start=1)],
        "annotations": [{"id": n, **each} for n, each in enumerate(annotations)],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


CIRCLE, INNER = [20, 10, 60, 50], [35, 25, 45, 35]
RING = drawn((1, "ellipse", CIRCLE), (0, "ellipse", INNER))
STAR = [(40, 2), (50, 25), (78, 30), (50, 35), (40, 58), (30, 35), (2, 30), (30, 25)]
BOX, WITHIN = [(5, 5), (60, 5), (60, 50), (5, 50)], [(20, 20), (30, 20), (30, 30), (20, 30)]


@pytest.fixture
def coco(tmp_path):
    """Two labelled images, one with run lengths that have a hole and one with a polygon, and one that has no labels."""
    for name in ("a", "b", "c"):
        write_image(tmp_path / "export" / "images" / f"{name}.jpg", SIZE)
    file = tmp_path / "export" / "annotations" / "instances_default.json"
    write_coco(file, ["a.jpg", "b.jpg", "c.jpg"], [of(0, 1, run_lengths(RING)), of(1, 2, [flat(STAR)])])
    return tmp_path / "export"


def test_run_lengths_are_exact_and_polygons_nearly_so(coco, tmp_path, capsys):
    assert bring("coco", coco, tmp_path / "out") == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == ["background", "cat", "dog"]
    assert (masks["a"] == RING).all()
    assert iou(masks["b"], 2 * by_centres(STAR), 2) >= 0.98
    told = capsys.readouterr().out
    assert "1 images have no labels, and come along as unlabelled, such as c.jpg" in told
    assert told.endswith(f"ready: set data.root to {tmp_path / 'out'}\n")
    assert [item.id for item in dataset.train if not item.mask] == ["c"]


def test_smaller_labels_lie_over_larger_ones_and_those_over_crowds_and_overlaps_are_counted(tmp_path, capsys):
    crowd, large, small = (drawn((1, "rectangle", box)) for box in ([0, 0, 70, 50], [10, 10, 60, 50], [20, 20, 30, 30]))
    annotations = [of(0, 1, run_lengths(small)), of(0, 2, run_lengths(large))]
    annotations.append(of(0, 3, run_lengths(crowd), iscrowd=1))
    annotations.append(of(1, 1, {"size": list(SIZE), "counts": [100, 50, 4650]}))
    for name in ("a.png", "b.png"):
        write_image(tmp_path / "export" / name, SIZE)
    write_coco(tmp_path / "export" / "x.json", ["a.png", "b.png"], annotations, ("cat", "dog", "people"))
    assert bring("coco", tmp_path / "export", tmp_path / "out") == 0
    masks = masks_of(tmp_path / "out")[1]
    expected = np.zeros(SIZE, int)
    for index, part in ((3, crowd), (2, large), (1, small)):
        expected[part == 1] = index
    assert (masks["a"] == expected).all()
    assert (masks["b"].T.ravel() == np.repeat([0, 1, 0], [100, 50, 4650])).all()
    assert "1 images have labels of different classes over each other" in capsys.readouterr().out


def test_everything_that_is_odd_in_a_coco_file_is_told_with_its_number(coco, tmp_path, capsys):
    odd = [of(0, 1, [flat(BOX), flat(WITHIN)]), of(1, 9, [flat(STAR)]), of(1, 2, []), of(1, 2, [[1, 1, 2, 2]])]
    odd += [of(5, 2, [flat(BOX)]), of(0, 2, {"size": [5, 5], "counts": [25]})]
    odd += [of(3, 2, [flat(BOX)]), of(4, 2, [flat(BOX)])]
    odd += [of(0, 2, [[1, 1, 1e9, 1, 1, 1e9]]), of(0, 2, {"size": None, "counts": 7})]
    odd += [of(0, 2, {"size": list(SIZE), "counts": [-1, 5]})]
    images = ["a.jpg", "b.jpg", "gone.jpg", "small.jpg", "bad.jpg"]
    write_coco(coco / "annotations" / "instances_default.json", images, odd, ("cat", ("dog", "pets"), "pets"))
    write_image(coco / "images" / "small.jpg", (8, 8))
    (coco / "images" / "bad.jpg").write_text("no image")
    assert bring("coco", coco, tmp_path / "out") == 0
    told = capsys.readouterr().out
    for line in (
        "1 images are not there, and are left out, such as gone.jpg",
        "1 annotations are of categories that are not listed, and become void, such as annotation 1 of instances",
        "6 annotations have no outline, one far outside, or run lengths of another size, and are left out",
        "1 annotations are of images that are not listed, and are left out, such as annotation 4 of instances",
        "1 annotations have a polygon inside another of theirs, which is filled: run lengths keep holes, such as annot",
        "1 categories only group others, and are left out, such as pets",
        "1 images have not the size that their labels have, and are left out",
        "1 images cannot be read, and are left out",
        "1 images have no labels, and come along as unlabelled",
    ):
        assert line in told
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == ["background", "cat", "dog"]
    assert iou(masks["a"], by_centres(BOX), 1) == 1
    assert set(np.unique(masks["b"])) == {0, VOID}


def test_an_exports_own_parts_are_kept_and_a_test_part_is_left_out(tmp_path, capsys):
    for part in ("train", "valid", "test"):
        for name in ("a", "b"):
            write_image(tmp_path / "export" / part / f"{name}.png", SIZE)
        write_coco(tmp_path / "export" / part / "_annotations.coco.json", ["a.png", "b.png"], [of(0, 1, [flat(BOX)])])
    assert bring("coco", tmp_path / "export", tmp_path / "out") == 0
    dataset = folder(tmp_path / "out")
    train = {item.id: bool(item.mask) for item in dataset.train}
    assert train == {"train_a": True, "train_b": False, "valid_b": False}
    assert [item.id for item in dataset.val] == ["valid_a"]
    assert "2 images of a test part are left out" in capsys.readouterr().out


def test_the_validation_part_is_drawn_by_seed_from_the_labelled_images(tmp_path):
    names = [f"{n:02}.png" for n in range(10)]
    for name in [*names, "unlabelled.png"]:
        write_image(tmp_path / "export" / name, SIZE)
    write_coco(tmp_path / "export" / "all.json", names, [of(n, 1, [flat(BOX)]) for n in range(10)])
    validating = {}
    for out, seed in (("one", 0), ("again", 0), ("other", 1)):
        assert bring("coco", tmp_path / "export", tmp_path / out, "--val", "0.3", "--seed", str(seed)) == 0
        validating[out] = [item.id for item in folder(tmp_path / out).val]
    assert validating["one"] == validating["again"] != validating["other"]
    assert len(validating["one"]) == 3


def write_labelme(file, shapes, image, size=SIZE):
    content = {"imagePath": image, "imageHeight": size[0], "imageWidth": size[1], "shapes": shapes, "imageData": None}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": points, "shape_type": kind, **more}


def test_labelme_shapes_lie_over_each_other_in_their_order(tmp_path, capsys):
    root = tmp_path / "my labels"
    stamp = io.BytesIO()
    Image.fromarray(RING[10:51, 20:61] * 255).save(stamp, format="PNG")
    coded = base64.b64encode(stamp.getvalue()).decode()
    write_labelme(root / "a.json", [shape("zebra", STAR), shape("ant", BOX), shape("__ignore__", WITHIN)], "a.jpg")
    disc, line = shape("ant", [[40, 30], [40, 10]], "circle"), shape("ant", [[1, 2], [3, 4]], "line")
    write_labelme(root / "test_b.json", [disc, line], "..\\pictures\\b.jpg")
    write_labelme(root / "c.json", [shape("zebra", [[70, 50], [10, 20]], "rectangle")], "c.jpg")
    write_labelme(root / "d.json", [shape("ant", [[20, 10], [60, 50]], "mask", mask=coded)], "d.jpg")
    write_labelme(root / "e.json", [], "e.jpg")
    big, size = [(50, 40), (700, 90), (620, 520), (300, 350), (90, 500)], (600, 800)
    write_labelme(root / "g.json", [shape("ant", big)], "g.jpg", size)
    write_image(root / "g.jpg", size)
    for place in ("my labels/a", "pictures/b", "my labels/c", "my labels/d", "my labels/e", "my labels/f"):
        write_image(tmp_path / f"{place}.jpg", SIZE)
    assert bring("labelme", root, tmp_path / "out") == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == ["background", "ant", "zebra"]
    over = np.where(by_centres(WITHIN), VOID, np.where(by_centres(BOX), 1, 2 * by_centres(STAR)))
    assert (masks["a"] == over).mean() > 0.96  # labelme draws the outline, too
    assert iou(masks["g"], by_centres(big, size), 1) >= 0.98
    assert iou(masks["b"], drawn((1, "ellipse", CIRCLE)), 1) >= 0.98
    assert (masks["c"][20:51, 10:71] == 2).all()
    assert (masks["c"] == 2).sum() == 31 * 61
    assert (masks["d"] == RING).all()
    told = capsys.readouterr().out
    assert "1 shapes are lines, points or too short" in told
    assert "2 images have no labels, and come along as unlabelled" in told


def test_no_two_images_of_an_export_have_one_name(tmp_path):
    root = tmp_path / "labels"
    for number, name in enumerate(("x/1", "x_1", "y/1", "y/2")):
        write_image(root / f"{name}.jpg", SIZE)
        write_labelme(root / f"{name}.json", [shape("ant", BOX)] * (number % 2), f"{Path(name).name}.jpg")
    assert bring("labelme", root, tmp_path / "out") == 0
    dataset = folder(tmp_path / "out")
    assert sorted(item.id for item in dataset.train + dataset.val) == ["2", "x_1", "x_1_", "y_1"]


LINES = "# label:color_rgb:parts:actions\nroad:128,64,128::\nbackground:0,0,0::\nroad sign:0,0,255::\n"


def labelmap_tree(root, lines=LINES):
    """Two masks in colour and one in a palette; `c` has no image, `d` no mask."""
    colors = np.array([[128, 64, 128], [0, 0, 0], [0, 0, 255], [224, 224, 192], [1, 2, 3]], np.uint8)
    places = np.arange(60 * 80).reshape(SIZE) // 400 % 5
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for name in ("a", "b", "d"):
        write_image(root / "JPEGImages" / f"{name}.jpg", SIZE)
    for name in ("a", "c"):
        Image.fromarray(colors[places]).save(root / "SegmentationClass" / f"{name}.png")
    Image.fromarray(colors[places % 3]).quantize(8).save(root / "SegmentationClass" / "b.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nc\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("b\n")
    (root / "labelmap.txt").write_text(lines)
    return places


def test_colours_of_a_labelmap_are_exact(tmp_path, capsys):
    places = labelmap_tree(tmp_path / "export")
    assert bring("labelmap", tmp_path / "export", tmp_path / "out") == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == ["road", "background", "road sign"]
    assert dataset.colors.tolist() == [[128, 64, 128], [0, 0, 0], [0, 0, 255]]
    assert (masks["a"] == np.where(places < 3, places, VOID)).all()
    assert (masks["b"] == places % 3).all()
    assert [item.id for item in dataset.val] == ["b"]
    told = capsys.readouterr().out
    assert "1 times a mask has a colour that labelmap.txt lacks: void, such as (1, 2, 3) in " in told
    assert "1 images are not there, and are left out, such as c" in told
    assert "1 images have no labels, and come along as unlabelled" in told


@pytest.mark.parametrize(
    ("kind", "mess", "words"),
    [
        ("coco", lambda root: None, "holds no COCO file"),
        ("coco", lambda root: (root / "x.json").write_text("{"), "x.json: is not JSON"),
        ("coco", lambda root: write_coco(root / "x.json", ["a.png"], [{"id": 3}]), "x.json: is not as COCO has it"),
        ("coco", lambda root: write_coco(root / "x.json", ["a.png"], [of(0, 1, [flat(BOX)])]), "0 images that are"),
        ("labelme", lambda root: None, "holds no labelme file"),
        ("labelme", lambda root: (root / "x.json").write_text('{"shapes": [{}]}'), "x.json: is not as labelme has it"),
        ("labelmap", lambda root: None, "holds no labelmap.txt"),
        ("labelmap", lambda root: labelmap_tree(root, "road:1,2\n"), "labelmap.txt: line 1 should be name:r,g,b"),
        ("labelmap", lambda root: labelmap_tree(root, "a:1,2,3::\nb:1,2,3::"), "line 2 has a colour that another"),
        ("labelmap", lambda root: (root / "labelmap.txt").touch(), "SegmentationClass: holds no masks"),
    ],
)
def test_what_is_no_such_export_is_one_line(tmp_path, capsys, kind, mess, words):
    root = tmp_path / "export"
    root.mkdir()
    mess(root)
    assert bring(kind, root, tmp_path / "out") == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fix")]
    assert words in line


def test_the_door_says_what_is_missing(coco, tmp_path, capsys, monkeypatch):
    assert cli.main(["data", "coco", "--root", str(coco)]) == 2
    assert capsys.readouterr().err == "eln-kit data coco: needs --out, the folder to make\n"
    with pytest.raises(SystemExit, match="2"):
        bring("coco", coco, tmp_path / "out", "--val", "2")
    assert "--val: should be above 0 and below 1" in capsys.readouterr().err
    assert bring("coco", tmp_path / "nothing", tmp_path / "out") == 1
    assert bring("coco", coco, coco) == 1
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    assert bring("coco", coco, tmp_path / "out") == 1
    told = capsys.readouterr().out
    words = ("correct --root", "choose another --out", "which is missing: pip install -e '.[import]'")
    for word in words:
        assert word in told
    assert not (tmp_path / "out").exists()
