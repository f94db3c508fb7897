"""The loop, closed: predictions become polygons, and corrected polygons become masks beside the old ones."""

import json

import numpy as np
import pytest
import torch
from conftest import TINY
from finished import train
from PIL import Image
from test_exports import bring, masks_of
from trees import folder, write_image, write_mask

from eln_kit import cli
from eln_kit.batch import report
from eln_kit.evaluation import segmentation
from eln_kit.outcome import results
from eln_kit.store.branch import branched, open_branch
from eln_kit.store.params_file import build
from eln_kit.tools import outlines

NAMES = ["background", "zebra", "ant"]
HARD = np.zeros((40, 50), np.uint8)
HARD[2:20, 3:30] = 1  # with a hole, an island in it, another class that touches it
HARD[5:15, 6:20] = 0
HARD[8:11, 9:12] = 2
HARD[2:20, 30:40] = 2
HARD[25:40, 0:12] = 2  # at the border, with a hole
HARD[30:35, 4:8] = 0
HARD[30, 20] = HARD[36, 49] = 1  # single pixels
HARD[32:34, 25:27] = 1
HARD[38, 15:45] = 2  # a line
np.fill_diagonal(HARD[20:28, 40:48], 1)


def exported(kind, root, masks, names=NAMES):
    """What `eln-kit predict --outlines` would write of these predictions."""
    images, ground = [], names[0] == "background"
    for id, mask in masks.items():
        lines = list(outlines.regions(mask, ground))
        images.append((f"{id}.png", mask.shape, lines))
        write_image(root / f"{id}.png", mask.shape)
        if kind == "labelme":
            (root / f"{id}.json").write_text(json.dumps(outlines._labelme(f"{id}.png", mask.shape, lines, names)))
    if kind == "coco":
        (root / "coco.json").write_text(json.dumps(outlines._coco(images, names)))
    return root


@pytest.mark.parametrize("kind", outlines.KINDS)
def test_holes_islands_borders_and_single_pixels_come_back_as_they_were(tmp_path, kind):
    round = np.hypot(*np.mgrid[-30:30, -40:40]) < 25
    masks = {"a": HARD, "b": HARD[::-1, ::-1], "c": round.astype(np.uint8)}
    assert bring(kind, exported(kind, tmp_path / "in", masks), tmp_path / "out") == 0
    dataset, back = masks_of(tmp_path / "out")
    of_name = np.array([dataset.classes.index(name) for name in NAMES])
    for id, mask in masks.items():
        assert (back[id] == of_name[mask]).all()


def test_a_circle_has_fewer_points_than_its_edge_has_pixels():
    disc = (np.hypot(*np.mgrid[-110:110, -110:110]) < 100).astype(np.uint8)
    ((index, line),) = outlines.regions(disc)
    assert index == 1
    assert len(line.exterior.coords) < 0.5 * 2 * np.pi * 100


@pytest.fixture
def base(tmp_path):
    """One labelled image, one without a mask, one to validate on; classes that are not in the alphabet's order."""
    root = tmp_path / "base"
    for part, id in (("train", "one"), ("unlabeled", "two"), ("val", "three")):
        write_image(root / "images" / part / f"{id}.png", HARD.shape)
        if part != "unlabeled":
            write_mask(root / "masks" / part / f"{id}.png", (0, 1, 2), HARD.shape)
    (root / "dataset.yaml").write_text(f"classes: [{', '.join(NAMES)}]\n")
    return root


@pytest.mark.parametrize("kind", outlines.KINDS)
def test_new_labels_join_a_data_set_and_keep_its_classes_ids_and_parts(tmp_path, base, kind, capsys):
    root = exported(kind, tmp_path / "in", {"2f-two": HARD, "new": HARD})
    (root / "2f-two.png").write_bytes((base / "images/unlabeled/two.png").read_bytes())  # a tool has renamed it
    assert bring(kind, root, tmp_path / "out", "--base", str(base)) == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == NAMES
    assert sorted(masks) == ["new", "one", "three", "unlabeled/two"]
    assert [item.id for item in dataset.val] == ["three"]
    assert (masks["unlabeled/two"] == HARD).all()
    assert (masks["one"] == np.asarray(Image.open(base / "masks/train/one.png"))).all()
    assert "drawn from" not in capsys.readouterr().out


def test_without_a_background_what_no_outline_covers_is_void_and_a_new_class_is_told(tmp_path, base, capsys):
    (base / "dataset.yaml").write_text("classes: [road, zebra, ant]\n")
    root = exported("labelme", tmp_path / "in", {"new": HARD}, ["road", "zebra", "ant"])
    content = json.loads((root / "new.json").read_text())
    content["shapes"] = [shape | {"label": shape["label"].replace("road", "raod")} for shape in content["shapes"]]
    (root / "typo.json").write_text(json.dumps(content | {"imagePath": "typo.png"}))
    write_image(root / "typo.png", HARD.shape)
    content["shapes"] = content["shapes"][-1:]
    (root / "few.json").write_text(json.dumps(content | {"imagePath": "few.png"}))
    write_image(root / "few.png", HARD.shape)
    assert bring("labelme", root, tmp_path / "out", "--base", str(base)) == 0
    dataset, masks = masks_of(tmp_path / "out")
    assert dataset.classes == ["road", "zebra", "ant", "raod"]
    assert "1 classes are not those of --base, and come after them, such as raod" in capsys.readouterr().out
    assert (masks["new"] == HARD).all()
    assert (masks["few"] == 255).mean() > 0.9


@pytest.mark.slow
def test_from_three_labels_to_a_second_run_that_begins_with_the_first(tmp_path, capsys):
    root, generator = tmp_path / "mine", np.random.default_rng(0)
    truth = {f"{n:02}": np.roll(HARD[:32, :32], 3 * n, axis=1) for n in range(12)}
    for id, mask in truth.items():
        part = "val" if id > "09" else "train"
        pixels = np.array([[90, 90, 90], [220, 60, 60], [60, 60, 220]])[mask] + generator.integers(0, 30, (32, 32, 3))
        (root / "images" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / part / f"{id}.png")
    (root / "dataset.yaml").write_text(f"classes: [{', '.join(NAMES)}]\n")

    labelled = ["00", "04", "08", "10", "11"]
    for id in labelled:
        part = "val" if id > "09" else "train"
        (root / "masks" / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(truth[id]).save(root / "masks" / part / f"{id}.png")

    more = {"data.name": "folder", "data.labels": "1/1", "data.root": str(root), "run.folder": str(tmp_path / "first")}
    params = build({}, TINY | more)
    first = train(params, "1_supervised", "2_error_localization")
    predict = ["predict", more["run.folder"], "--images", str(root / "images/train"), "--out", str(tmp_path / "out")]
    assert cli.main([*predict, "--outlines", "labelme", "--first", "4"]) == 0
    assert "predictions of 4 images as polygons, simplified by 0.25 pixels at most" in capsys.readouterr().out

    files = sorted((tmp_path / "out/outlines").glob("*.json"))
    assert len(files) == 4
    for file in files:  # a person corrects: here to the truth, as labelme saves it, with the image in the file
        content = json.loads(file.read_text())
        shapes = outlines._labelme("", (32, 32), list(outlines.regions(truth[file.stem])), NAMES)["shapes"]
        file.write_text(json.dumps(content | {"shapes": shapes, "imageData": "aW1hZ2U="}, indent=2))
    before = [file.read_bytes() for file in files]
    assert cli.main([*predict, "--outlines", "labelme", "--first", "4"]) == 0
    assert "4 files were there, and are left as they were" in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == before

    new = tmp_path / "new"
    assert bring("labelme", tmp_path / "out/outlines", new, "--base", str(root)) == 0
    dataset, masks = masks_of(new)
    assert dataset.classes == NAMES
    assert set(masks) == {*labelled, *(file.stem for file in files)}
    for id, mask in masks.items():
        assert (mask == truth[id]).all()
    assert len(folder(new).train) == 10

    again = {"data.root": str(new), "run.start_from": more["run.folder"], "run.folder": str(tmp_path / "second")}
    second = open_branch(branched(build(params.model_dump(), again)))
    assert not (second.folder / "1_supervised").exists(), "other labels: no stage is taken over"
    assert len(second.split.labeled) == len(masks) - 2
    begins, taught = (run.networks(after=after) for run, after in ((second, None), (first, "1_supervised")))
    for name, value in taught.student.state_dict().items():
        assert torch.equal(begins.student.state_dict()[name], value)
    second = train(second.params, "1_supervised")

    rows = results.measure_segmentation(second, results.segmenters(second, results.finished_stages(second)))
    now, start = (next(row for row in rows if row["name"] == name) for name in ("stage 1, supervised", results.BEFORE))
    taught = first.networks(after="1_supervised").student.eval()
    assert start["miou"] == segmentation.measure(taught, second.dataset, second.params)["miou"]
    assert now["labels_gain"]["miou"] == now["miou"] - start["miou"]
    assert now["labels_gain"]["low"] <= now["labels_gain"]["high"]
    (said,) = [line for line in report.notable({"segmentation": rows}) if line.startswith("With these labels")]
    assert f"{100 * now['labels_gain']['miou']:+.1f} points against the network of run.start_from" in said
