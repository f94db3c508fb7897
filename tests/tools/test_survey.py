"""What `eln-kit check`, a dry run and notebook 0 tell of a data set before anything trains."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from trees import fails, folder, folder_tree, masked_dataset, write_image, write_mask

from eln_kit import cli
from eln_kit.data import read_image
from eln_kit.tools.survey import refuse_void, survey


def params_of(root, tmp_path, more="", **data):
    data = {"name": "folder", "root": str(root), "labels": 2} | data
    (tmp_path / "x.yaml").write_text(f"data: {json.dumps(data)}\n{more}")
    return str(tmp_path / "x.yaml")


def told(root, tmp_path, capsys, more="", **data):
    """What `eln-kit check` prints of a tree that it accepts."""
    status = cli.main(["check", params_of(root, tmp_path, more, **data)])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def tree(root, masks, yaml="classes: [a, b]"):
    """A tree with an unlabelled image, and a mask of these values for each training image; the last validates too."""
    for split, some in (("train", masks), ("val", masks[-1:])):
        for index, values in enumerate(some):
            write_image(root / "images" / split / f"{index:02}.png")
            write_mask(root / "masks" / split / f"{index:02}.png", values)
    write_image(root / "images/train/more.png")
    (root / "dataset.yaml").write_text(yaml)
    return root


def deep(path, largest, mode=np.uint16):
    """A 16-bit grey image, 2 x 3, whose last pixel is the brightest."""
    Image.fromarray(np.linspace(0, largest, 6).round().astype(mode).reshape(2, 3)).save(path)
    return path


def test_check_tells_images_masks_split_sizes_and_the_share_of_each_class(tmp_path, capsys):
    lines = told(tree(tmp_path / "set", [(0, 1)] * 3 + [(0, 1, 255)]), tmp_path, capsys).splitlines()
    assert lines == [
        "data        folder, 2 classes; 2 labelled and 3 unlabelled images; 1 to validate on",
        "split       drawn with seed 0 (all masks read)",
        "masks       4 of 5 training images have one",
        "sizes       16 x 12 pixels; 6 8-bit color",
        "pixels      a 91.25%, b 6.25%; void 2.50%",  # a column of 16 is 6.25 %
        "warning     6 of 6 images are smaller than the crop of 64 x 64; void fills it",
    ]


def test_check_tells_the_same_to_programs(tmp_path, capsys):
    root = tree(tmp_path / "set", [(0, 1)] * 3 + [(0, 1, 255)])
    assert cli.main(["check", params_of(root, tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pixels"] == {"a": 5 * 180 - 2 * 12, "b": 5 * 12}
    assert facts["void"] == 2 * 12
    assert facts["masks"] == {"train": 4, "val": 1}
    assert facts["split"] == {
        "labeled": 2,
        "unlabeled": 3,
        "source": "drawn with seed 0 (all masks read)",
    }
    assert facts["sizes"] == {"smallest": [16, 12], "largest": [16, 12], "different": 1}
    assert len(facts["warnings"]) == 1


@pytest.mark.slow
def test_a_dry_run_tells_what_check_tells(tmp_path, capsys):
    root = tree(tmp_path / "set", [(0, 1)] * 3)
    file = params_of(root, tmp_path)
    assert cli.main(["check", file]) == 0
    checked = capsys.readouterr().out
    assert cli.main(["run", file, "--dry-run", "--set", f"run.folder={tmp_path / 'run'}"]) == 0
    assert checked in capsys.readouterr().out


@pytest.mark.parametrize(
    ("masks", "yaml", "warning"),
    [
        ([(0, 1)] * 2, "classes: [a, b, c, d]", "no mask has c, d"),
        (
            [(0,) * 7 + (255,) * 9, (0, 1)] + [(0,) * 7 + (255,) * 9] * 3 + [(0, 255, 1)],
            "{classes: [a, b], void: 255}",
            "void",
        ),
        ([(0,), (0,), (0,), (0, 1)], "classes: [a, b]", "3 of 5 masks hold one value only"),
        ([(255,), (0, 1)], "classes: [a, b]", r"1 masks are void everywhere, such as \S*masks/train/00.png"),
    ],
)
def test_what_is_seldom_meant_is_a_warning(tmp_path, capsys, masks, yaml, warning):
    assert re.search(f"^warning     .*{warning}", told(tree(tmp_path / "set", masks, yaml), tmp_path, capsys), re.M)


def test_rare_classes_are_warned_of_and_weights_are_recommended(tmp_path, capsys):
    root = folder_tree(tmp_path / "set", train=2, val=1, unlabeled=1)
    for path in root.glob("*/*/*.png"):
        pixels = np.zeros((200, 300), np.uint8)  # 60,000 pixels, of which one is b's
        pixels[0, 0] = path.parts[-3] == "masks"
        Image.fromarray(pixels).save(path)
    said = told(root, tmp_path, capsys)
    assert "warning     under 0.01% of the labelled pixels: class 1" in said
    assert "0.00% of the labelled pixels; try optimizer.class_weights=sqrt" in said
    assert "warning     all images are grey" in said
    assert "crop" not in said


def test_files_that_nothing_reads_are_counted_and_named(tmp_path, capsys):
    root = tree(tmp_path / "set", [(0, 1)] * 3)
    (root / "masks/train/03.npy").write_text("")
    write_image(root / "images/test/a.png")
    write_image(root / "images/test/deep/b.png")
    write_mask(root / "masks/c.png")
    said = told(root, tmp_path, capsys)
    assert "not used    4 files: " in said
    for part in (
        "images/test (1: a.png)",
        "images/test/deep (1: b.png)",
        "masks (1: c.png)",
        "masks/train (1: 03.npy)",
    ):
        assert str(root / part) in said


def test_images_in_a_folder_of_their_own_are_unlabelled_training_images(tmp_path, capsys):
    root = folder_tree(tmp_path / "set", train=2, val=1)
    write_image(root / "images/unlabeled/00.png")
    write_image(root / "images/unlabeled/city/01.jpg")
    assert [item.id for item in folder(root).train if not item.mask] == ["unlabeled/00", "unlabeled/city/01"]
    assert "2 labelled and 2 unlabelled images" in told(root, tmp_path, capsys)


def test_masks_of_0_and_255_are_refused_where_the_list_has_two_classes(tmp_path):
    with fails(r"masks hold no class but a, and void; .* `classes: \[{name: .., value: 0}, {name: .., value: 255}\]`"):
        survey(folder(tree(tmp_path, [(0, 255)] * 3)))


@pytest.mark.parametrize("yaml", ["classes: [a, b]", ""])
def test_masks_of_which_some_have_1_and_others_255_are_refused_until_the_list_says_what_255_is(tmp_path, yaml):
    root = tree(tmp_path, [(0, 255), (0, 1), (0, 1)], yaml)
    if not yaml:
        (root / "dataset.yaml").unlink()
    with fails(r"00\.png: holds (a|class 0) and 255, but \S*01\.png .*values: \[1, 255\].*`void: \[255\]`"):
        survey(folder(root))
    for meant in ("{classes: [a, b], void: [255]}", "classes: [{name: a, value: 0}, {name: b, values: [1, 255]}]"):
        (root / "dataset.yaml").write_text(meant)
        survey(folder(root))


@pytest.mark.parametrize(
    ("masks", "classes"), [([(0, 255), (0, 1), (0, 1, 255)], "[a, b]"), ([(0, 255), (0, 1), (0, 2)], "[a, b, c]")]
)
def test_void_beside_objects_is_void(tmp_path, masks, classes):
    survey(folder(tree(tmp_path, masks, f"classes: {classes}")))


def test_labels_that_are_void_everywhere_are_refused(tmp_path):
    dataset = masked_dataset(tmp_path, [(255,), (255,), (0, 1)])
    void = survey(dataset).void
    assert void == set(dataset.train[:2])
    with fails("all pixels of this and all other labelled images are void"):
        refuse_void(dataset.train[:2], void)
    refuse_void(dataset.train, void)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "1/1"}, "no unlabelled images are left: lower data.labels or set semi_supervised.unlabeled=false"),
        ({"void": True}, r"masks/val/00.png: all pixels of this and all other validation images are void"),
    ],
)
def test_what_would_stop_a_later_stage_is_told_by_check_and_by_a_dry_run(tmp_path, capsys, change, message):
    root = folder_tree(tmp_path / "set", train=3, val=1)
    if change.pop("void", False):
        write_mask(root / "masks/val/00.png", (255,))
    file = params_of(root, tmp_path, f"run: {{folder: '{tmp_path / 'run'}'}}", **change)
    for command in (["check", file], ["run", file, "--dry-run"]):
        assert cli.main(command) == 1
        assert message in (said := capsys.readouterr().err)
        assert said.count("\n") == 1


def test_images_of_a_twelve_bit_sensor_are_scaled_by_what_all_of_them_need(tmp_path, capsys):
    root = folder_tree(tmp_path / "set", train=2, val=1, unlabeled=1)
    for path in root.glob("*/*/*.png"):
        deep(path, 2040) if path.parts[-3] == "images" else write_mask(path, size=(2, 3))
    deep(root / "images/train/00.png", 1000)
    dataset = folder(root)
    assert {item.depth for item in dataset.train + dataset.val} == {12}
    assert [int(read_image(item).max()) for item in dataset.train[:2]] == [1000 * 255 // 4095, 2040 * 255 // 4095]
    assert int(read_image(folder(root, depth=11).train[1]).max()) == 2040 * 255 // 2047
    assert "16-bit images end at 2040, and are read as of 12 bits (data.depth)" in told(root, tmp_path, capsys)


def test_numbers_beyond_the_depth_are_an_error_and_never_cut(tmp_path):
    root = folder_tree(tmp_path, train=2, val=1)
    deep(root / "images/train/00.png", 5000)
    write_mask(root / "masks/train/00.png", size=(2, 3))
    with fails(r"train/00\.png: values 0 to 5000, beyond 12 bits; raise data\.depth"):
        survey(folder(root, depth=12))
    deep(root / "images/train/00.tif", 70000, np.int32)
    (root / "images/train/00.png").unlink()
    with fails(r"train/00\.tif: values 0 to 70000, beyond 16 bits; save it with 16 bits"):
        survey(folder(root))


@pytest.mark.parametrize(("orientation", "count"), [(3, 1), (1, 0)])
def test_a_labelled_image_that_its_exif_tag_turns_by_180_degrees_is_told(tmp_path, capsys, orientation, count):
    root = tree(tmp_path / "set", [(0, 1)] * 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(root / "images/train/00.png").save(root / "images/train/00.png", exif=exif)
    warnings = told(root, tmp_path, capsys).count("1 labelled images are turned or mirrored by their EXIF tag")
    assert warnings == count
