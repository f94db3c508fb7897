"""Predicted masks as labels: images 00 and 01 have real masks, the others none."""

import numpy as np
import pytest
import torch
from PIL import Image
from trees import SIZE, fails, folder, folder_tree, ids, write_image, write_mask

from eln_kit import cli
from eln_kit.data import make_split, read_mask
from eln_kit.data.extra import extra_items, weighted
from eln_kit.method.stages import Supervised
from eln_kit.params import Data
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build
from eln_kit.training.fit import fit


@pytest.fixture
def tree(tmp_path):
    """Unlabelled images 02 and 03 in images/train, and 02 in images/unlabeled."""
    root = folder_tree(tmp_path / "tree", train=2, unlabeled=2)
    write_image(root / "images/unlabeled/02.png")
    write_image(root / "images/unlabeled/deep/04.png")
    return root


def predicted(tree, *names, classes=(1, 0, 255)):
    masks = tree.parent / "labelled/trusted/masks/train"
    masks.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_mask(masks / f"{name}.png", classes, mode="P")
    return Data(name="folder", root=str(tree), labels="1/1", extra_masks=str(masks.parents[1]))


def found(data):
    return extra_items(make_split(folder(data.root), data), data)


def test_an_unlabelled_image_has_the_mask_of_its_name_and_a_labelled_one_keeps_its_own(tree):
    assert sorted(ids(found(predicted(tree, "00", "03", "deep/04")))) == ["03", "unlabeled/deep/04"]


def test_a_bare_name_is_not_that_of_an_unlabelled_image_where_a_training_image_has_it(tree):
    assert ids(found(predicted(tree, "02", "03"))) == ["02", "03"], "unlabeled/02 has another image's name"


def test_masks_that_changed_since_the_run_began_are_refused(tree, tmp_path):
    data = predicted(tree, "02", "03")
    params = build({"data": data.model_dump()}, {"run.folder": str(tmp_path / "run")})
    assert len(open_experiment(params).extra) == len(open_experiment(params).extra) == 2
    predicted(tree, "deep/04")
    with fails("has other masks than the run began with"):
        _ = open_experiment(params).extra


def test_a_predicted_mask_is_read_as_indices_where_the_real_ones_are_in_colour(tree):
    (tree / "dataset.yaml").write_text("classes: [{name: a, color: [9, 9, 9]}, {name: b, color: [200, 0, 0]}]\n")
    for mask in (tree / "masks").rglob("*.png"):
        Image.fromarray(np.full((*SIZE, 3), 9, np.uint8)).save(mask)
    (item,) = found(predicted(tree, "03"))
    mask = read_mask(item, folder(tree))
    assert mask[0, :4].tolist() == [1, 0, 255, 1]


def test_training_draws_real_and_extra_masks_and_check_counts_them(tree, tmp_path, capsys):
    data = predicted(tree, "02", "03")
    params = build({"data": data.model_dump()}, {"run.folder": str(tmp_path / "run"), "data.extra_weight": 0.25})
    experiment = open_experiment(params)
    drawn = ids(weighted(experiment.labeled, experiment.extra, 0.25))
    assert [drawn.count(id) for id in ("00", "01", "02", "03", "unlabeled/02")] == [4, 4, 1, 1, 0]
    assert cli.main(["check", "photos", *_sets(data)]) == 0
    assert "2 unlabelled images have a predicted mask" in capsys.readouterr().out


@pytest.mark.slow
def test_a_stage_learns_from_the_extra_masks(tree, tiny):
    """All real pixels are void, so whatever is learnt comes from the others."""
    for mask in (tree / "masks/train").glob("*.png"):
        write_mask(mask, (255,))
    weights = []
    for classes in ((0,), (1,)):
        data = predicted(tree, "02", "03", classes=classes).model_dump()
        params = build({"data": data}, {"views.crop": [16, 16], "supervised.steps": 8, "run.seed": 0})
        params = params.model_copy(update={"run": tiny({"run.folder": f"{tree}/run{classes}"}).run})
        experiment = open_experiment(params)
        stage = Supervised(experiment.networks(), params)
        fit(stage, experiment)
        with torch.no_grad():
            weights.append(stage.networks.student.eval().predict(torch.rand(1, 3, 32, 32)).mean((0, 2, 3)))
    assert weights[0][0] > weights[0][1]
    assert weights[1][1] > weights[1][0]


def test_masks_that_fit_no_image_or_hold_no_class_are_one_line_each(tree, tmp_path, capsys):
    with fails(r"no mask is named as an unlabelled image is \(elsewhere, ... against"):
        found(predicted(tree, "elsewhere"))
    with fails("no such folder of masks"):
        found(predicted(tree).model_copy(update={"extra_masks": str(tmp_path / "gone")}))
    (tmp_path / "empty").mkdir()
    with fails("holds no PNG"):
        found(predicted(tree).model_copy(update={"extra_masks": str(tmp_path / "empty")}))
    data = predicted(tree, "02", classes=(7,))
    assert cli.main(["check", "photos", *_sets(data)]) == 1
    assert capsys.readouterr().err.count("value 7 is no class") == 1


def _sets(data):
    knobs = {"name": data.name, "root": data.root, "labels": data.labels, "extra_masks": data.extra_masks}
    return [part for knob, value in knobs.items() for part in ("--set", f"data.{knob}={value}")]
