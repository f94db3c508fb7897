"""A run that has trained, looked at from outside: evaluate, show, plan, trackers, the best step."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from trees import folder_tree, write_image, write_mask

from eln_kit import cli
from eln_kit.batch import plan, report
from eln_kit.batch.state import NOTEBOOKS, notebooks
from eln_kit.evaluation import results, segmentation, show
from eln_kit.faults import CheckpointError, DataError, ParamsError
from eln_kit.method.stages import STAGES
from eln_kit.store import checkpoint, params_file
from eln_kit.store.experiment import open_experiment, reopen
from eln_kit.training.fit import fit
from eln_kit.training.trial import blank

pytestmark = pytest.mark.slow


def train(params, *stages):
    experiment = open_experiment(params)
    params_file.save(params, experiment.folder / "params.yaml")
    for name in stages:
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), params), experiment)
    return experiment


@pytest.fixture
def run(tiny):
    """A run whose stages 1 and 2 have finished."""
    return train(tiny(), "1_supervised", "2_error_localization")


def test_a_run_is_measured_as_far_as_it_has_come_and_the_command_gives_the_same(run, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert cli.main(["evaluate", str(run.folder), "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    expected = results.evaluate(run)
    assert found == json.loads(json.dumps(expected))
    assert [(row["name"], row["steps"]) for row in found["segmentation"]] == [("stage 1, supervised", 4)]
    assert [row["name"] for row in found["error_detection"]] == [
        "after stage 2, ELN",
        "after stage 2, 1 - max softmax",
    ]
    assert report.table(found) in capsys.readouterr().out


def test_evaluation_knobs_can_be_changed_afterwards_and_others_are_refused(run, capsys):
    assert cli.main(["evaluate", str(run.folder), "--set", "evaluation.flip=true"]) == 0
    assert cli.main(["evaluate", str(run.folder), "--set", "evaluation.size=[16,16]"]) == 0
    capsys.readouterr()
    assert cli.main(["evaluate", str(run.folder), "--set", "model.decoder_channels=16"]) == 1
    assert "model.decoder_channels was 8 and is 16" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run.folder / "nothing")]) == 2


def test_data_that_moved_can_be_named_anew(run, tmp_path):
    moved = shutil.copytree(run.params.data.root, tmp_path / "moved")
    knobs = [f"data.root={moved}"]
    assert results.evaluate(reopen(run.folder, knobs))["segmentation"] == results.evaluate(run)["segmentation"]


def test_a_run_that_no_command_made_tells_its_params_by_its_checkpoints(run):
    (run.folder / "params.yaml").unlink()
    assert reopen(run.folder).params == run.params


def test_a_moved_run_folder_is_opened_where_it_lies_now(run, tmp_path):
    moved = run.folder.rename(tmp_path / "moved")
    assert reopen(moved).folder == moved


@pytest.fixture
def far(tiny, tmp_path):
    """A run of stages 1 and 2 whose images, classes, list of labels and initial weights lie outside of it."""
    root = folder_tree(tmp_path / "data", train=3, val=1, unlabeled=2)
    classes, labels, weights = (tmp_path / name for name in ("classes.yaml", "labels.txt", "resnet.pth"))
    classes.write_text("classes: [{name: sky}, {name: kite, color: [1, 2, 3]}]")
    labels.write_text("00\n02\n")
    torch.save(timm.create_model("resnet10t").state_dict(), weights)
    data = {
        "data.name": "folder",
        "data.root": str(root),
        "data.classes": str(classes),
        "data.labeled_ids": str(labels),
    }
    model = {"model.encoder_weights": str(weights), "model.eln_weights": str(weights)}
    run = train(tiny(data | model), "1_supervised", "2_error_localization")
    (tmp_path / "elsewhere").mkdir()
    for file in (classes, labels, weights):
        file.rename(tmp_path / "elsewhere" / file.name)
    return run


def test_a_run_copied_to_another_folder_goes_on_when_all_that_it_was_made_from_has_moved(
    far, tmp_path, capsys, monkeypatch
):
    image = far.dataset.val[0].image.rename(tmp_path / "image.png")
    shutil.copy(image, far.dataset.val[0].image)
    expected = results.evaluate(far)["segmentation"]
    copy = far.folder.rename(tmp_path / "copy")
    moved = f"data.root={Path(far.params.data.root).rename(tmp_path / 'moved data')}"
    assert results.evaluate(reopen(copy, [moved]))["segmentation"] == expected
    assert reopen(copy, [moved]).dataset.colors[1].tolist() == [1, 2, 3]
    assert cli.main(["show", str(copy), "--image", str(image), "--out", str(tmp_path / "seen"), "--set", moved]) == 0
    monkeypatch.setattr("eln_kit.batch.state.NOTEBOOKS", ["1_supervised", "2_error_localization"])
    capsys.readouterr()
    assert cli.main(["run", str(copy / "params.yaml"), "--set", moved, "--dry-run"]) == 0
    assert "2_error_localization  finished" in capsys.readouterr().out
    assert cli.main(["run", str(copy / "params.yaml"), "--set", moved]) == 0
    assert not far.folder.exists()


def test_other_places_of_what_is_in_the_run_are_accepted_and_other_content_is_not(far, tmp_path):
    knobs = {"model.encoder_weights": "resnet.pth", "data.classes": "classes.yaml", "data.labeled_ids": "labels.txt"}
    knobs = {knob: str(tmp_path / "elsewhere" / name) for knob, name in knobs.items()}
    assert reopen(far.folder, knobs).networks("2_error_localization")
    for other in ("none", "imagenet", "elsewhere/another.pth"):
        with pytest.raises(CheckpointError, match=r"model\.encoder_weights was .*resnet\.pth' and is"):
            reopen(far.folder, {"model.encoder_weights": other}).networks("1_supervised")
    Path(knobs["data.labeled_ids"]).write_text("00\n01\n")
    with pytest.raises(ParamsError, match="ask for another split now"):
        reopen(far.folder, knobs)


def test_what_no_stage_has_trained_still_wants_its_initial_weights(far):
    shutil.rmtree(far.folder / "2_error_localization")
    with pytest.raises(ParamsError, match=r"resnet\.pth: no such weights file"):
        open_experiment(far.params).networks("1_supervised")


def test_the_best_step_on_held_out_labelled_images_is_kept_beside_the_last(tiny, monkeypatch):
    scores = iter([0.2, 0.6, 0.4, 0.5])
    monkeypatch.setattr("eln_kit.training.best.summarize_confusion", lambda *_: {"miou": next(scores)})
    params = tiny({"data.held_out": 1, "evaluation.every": 1, "run.log_every": 4})
    experiment = train(params, "1_supervised")
    assert len(experiment.labeled) == 3
    assert experiment.held_out[0] not in experiment.labeled
    best = checkpoint.load(experiment.folder / "1_supervised" / checkpoint.BEST)
    assert (best["step"], best["best"]) == (2, {"step": 2, "miou": 0.6})
    assert [line["held_out_miou"] for line in experiment.records("1_supervised")] == [0.2, 0.6, 0.4, 0.5]
    monkeypatch.undo()
    rows = results.segmenters(experiment, results.finished_stages(experiment))
    assert [(name, steps) for name, (_, steps) in rows.items()] == [
        ("stage 1, supervised", 4),
        ("stage 1, supervised, best step on held-out images", 2),
    ]
    last, best = (network.classify[-1].weight for network, _ in rows.values())
    assert not torch.equal(last, best)


def test_held_out_images_are_validated_on_by_nobody_else_and_leave_some_to_train_on(tiny):
    experiment = open_experiment(tiny({"data.held_out": 2}))
    assert not set(experiment.held_out) & {*experiment.dataset.val, *experiment.split.unlabeled}
    with pytest.raises(ParamsError, match=r"data\.held_out = 4: of 4 labelled images none would be left"):
        open_experiment(tiny({"data.held_out": 4, "run.folder": str(experiment.folder) + "2"}))


def test_show_writes_pictures_of_any_image_with_and_without_a_mask(run, tmp_path, capsys):
    image = write_image(tmp_path / "my image.jpg", (40, 56))
    mask = write_mask(tmp_path / "truth.png", (0, 3, 255), (40, 56))
    assert cli.main(["show", str(run.folder), "--image", str(image), "--mask", str(mask), "--out", str(tmp_path)]) == 0
    folder = tmp_path / "my image"
    assert str(folder / "sheet.png") in capsys.readouterr().out
    pictures = {file.name: Image.open(file) for file in folder.iterdir()}
    assert set(pictures) == {
        *("input.png", "truth.png", "prediction.png", "eln_map.png", "eln_mask.png", "filtered.png", "sheet.png")
    }
    assert all(picture.size == (56, 40) for name, picture in pictures.items() if name != "sheet.png")
    prediction, filtered = (np.array(pictures[f"{name}.png"]) for name in ("prediction", "filtered"))
    keep = np.array(pictures["eln_mask.png"]).astype(bool)
    assert (filtered[keep] == prediction[keep]).all()
    assert (filtered[~keep] == 255).all()
    some_masks = tmp_path / "masks"
    with pytest.raises(DataError, match="one mask cannot be that of every image"):
        list(show.show(run.folder, tmp_path, mask, some_masks))
    colors = np.array(pictures["truth.png"].convert("RGB"))
    assert (colors[0, 1] == run.dataset.colors[3]).all()


def test_show_takes_a_folder_of_images_and_the_masks_that_are_there(run, tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("a.png", "b.jpg", "b.png"):
        write_image(images / name, (32, 32))
    write_mask(masks / "a.tif", (0, 1), (32, 32))
    folders = list(show.show(run.folder, images, masks, tmp_path / "out"))
    assert [folder.name for folder in folders] == ["a", "b.jpg", "b.png"]
    assert [(folder / "truth.png").exists() for folder in folders] == [True, False, False]


def test_show_finds_the_mask_of_an_image_in_the_same_sub_folder(run, tmp_path):
    for part in ("one", "two"):
        write_image(tmp_path / "images" / part / "a.png", (32, 32))
    write_mask(tmp_path / "masks" / "two" / "a.png", (0, 1), (32, 32))
    for _ in range(2):  # where the pictures lie among the images, they are not taken for such
        folders = list(show.show(run.folder, tmp_path / "images", tmp_path / "masks", tmp_path / "images" / "out"))
        assert [(folder / "truth.png").exists() for folder in folders] == [False, True]


def test_no_two_images_of_a_folder_have_one_id(tmp_path):
    for name in ("a.jpg", "a.png", "a.jpg.png", "b.jpg", "c.jpg", "c.jpg.png"):
        write_image(tmp_path / name, (32, 32))
    ids = [item.id for item in show.find_images(tmp_path)]
    assert ids == ["a.jpg", "a.jpg.png", "a.png", "b", "c", "c.jpg"], "as the data set has them"


def test_show_works_where_the_data_set_is_not_at_the_depth_of_the_params(run, tmp_path):
    params = run.params.model_dump() | {"data": run.params.data.model_dump() | {"name": "folder", "root": "gone"}}
    image = write_image(tmp_path / "x.png", (32, 32))
    params["data"] |= {"depth": 12}
    Image.fromarray(np.full((32, 32), 4095, np.uint16)).save(image)
    (run.folder / "params.yaml").write_text(json.dumps(params))
    for stage in ("1_supervised", "2_error_localization"):
        path = run.folder / stage / checkpoint.FILE
        checkpoint.save(path, torch.load(path, weights_only=True) | {"params": params})
    (folder,) = show.show(run.folder, image, None, tmp_path / "out")
    assert np.asarray(Image.open(folder / "input.png")).min() == 255


@pytest.mark.parametrize("image", ["none.png", "text.png", "empty"])
def test_show_refuses_what_is_no_image_in_one_line(run, tmp_path, capsys, image):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    assert cli.main(["show", str(run.folder), "--image", str(tmp_path / image), "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(str(tmp_path / image))
    assert error.count("\n") == 1


def test_show_before_stage_2_names_the_notebook_to_run(tiny, tmp_path, capsys):
    run = train(tiny(), "1_supervised")
    image = write_image(tmp_path / "x.png")
    assert cli.main(["show", str(run.folder), "--image", str(image), "--out", str(tmp_path)]) == 1
    assert "run notebooks/2_error_localization.ipynb first" in capsys.readouterr().err


@pytest.mark.parametrize("decoder", ["segformer", "fpn", "upernet"])
def test_each_decoder_has_a_dry_run_and_its_run_shows_an_image(tiny, tmp_path, capsys, decoder):
    params = tiny({"model.decoder": decoder, "model.decoder_channels": 32, "run.control": False})
    file = tmp_path / "x.yaml"
    params_file.save(params, file)
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    run, image = train(params, "1_supervised", "2_error_localization"), write_image(tmp_path / "x.png", (40, 56))
    assert cli.main(["show", str(run.folder), "--image", str(image), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "x" / "sheet.png").is_file()


def test_a_dry_run_tells_what_would_be_done_and_touches_nothing(tiny, tmp_path, capsys):
    params = tiny({"run.control": False})
    file = tmp_path / "x.yaml"
    params_file.save(params, file)
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "4 labelled and 8 unlabelled images; 3 to validate on" in told
    line = r"3_semi_supervised +steps 1 to 4; 1 process on cpu, fp32; at least 0\.\d GiB each; 2 checkpoints of \d+ MiB"
    assert re.search(line, told)
    assert "control" not in told
    assert "not executed again" not in told
    assert not (tmp_path / "run").exists()

    open_experiment(params)
    assert cli.main(["run", str(file), "--dry-run", "--set", "data.seed=9"]) == 2
    assert "the data knobs ask for another split now" in capsys.readouterr().err
    train(params, "1_supervised")
    assert "1_supervised          finished" in plan.describe(params, notebooks(NOTEBOOKS))
    wrong = ("data.labels=99", "data.labels=1/1", "data.held_out=4", f"run.folder={file}/run", "run.processes=0")
    for knob in (*wrong, "run.precision=fp16"):
        capsys.readouterr()
        assert cli.main(["run", str(file), "--dry-run", "--set", knob]) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1


def test_the_memory_of_a_plan_is_what_autograd_keeps(tiny):
    params = tiny({"data.batch_labeled": 2})
    networks = open_experiment(params).networks()
    stage = STAGES["1_supervised"](networks, params).train()
    kept = {}

    def note(tensor):
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = stage({"image": torch.rand(2, 3, 32, 32), "mask": torch.zeros(2, 32, 32, dtype=torch.long)})[0]
    weights = 4 * sum(p.numel() for p in stage.parameters()) + 12 * sum(
        p.numel() for p in networks.student.parameters()
    )
    assert loss
    assert plan.memory_of(stage, 1, "fp32") == pytest.approx(weights + sum(kept.values()), rel=0.02)
    larger = tiny({"data.batch_labeled": 8})
    assert plan.memory_of(STAGES["1_supervised"](networks, larger), 1, "fp32") > weights + 3 * sum(kept.values())


def test_the_memory_of_unimatch_v2_is_a_little_below_its_published_10_gb_on_each_of_4_gpus():
    params = params_file.load("unimatch_v2_voc")
    stage = STAGES["3_semi_supervised"](blank(params, 21), params)
    assert 0.8e10 < plan.memory_of(stage, 4, "fp32") < 1e10


def test_tensorboard_gets_losses_rates_miou_and_a_picture(tiny):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    knobs = {"run.tracker": "tensorboard", "semi_supervised.threshold": 0.0}
    run = train(tiny(knobs), "1_supervised", "2_error_localization", "3_semi_supervised")
    events = EventAccumulator(str(run.folder / "3_semi_supervised" / "eln-kit")).Reload()
    tags = events.Tags()
    assert {"main", "lr", "kept_share", "kept_accuracy", "validation_miou"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("main")] == [2, 4]
    assert events.Scalars("main")[1].value == pytest.approx(run.records("3_semi_supervised")[1]["main"])
    assert any(tag.startswith("predictions") for tag in tags["images"])
    miou = segmentation.measure(run.networks("3_semi_supervised").teacher, run.dataset, run.params)["miou"]
    assert events.Scalars("validation_miou")[0].value == pytest.approx(miou)


def test_wandb_works_offline(tiny, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = train(tiny({"run.tracker": "wandb"}), "1_supervised")
    assert list(run.folder.glob("1_supervised/wandb/offline-run-*/run-*.wandb"))


def test_a_tracker_that_is_not_installed_is_one_clear_line(tiny, monkeypatch):
    monkeypatch.setattr("eln_kit.training.tracking.find_spec", lambda name: None)
    with pytest.raises(ParamsError, match=r"run\.tracker = wandb: not installed; pip install wandb"):
        train(tiny({"run.tracker": "wandb"}), "1_supervised")
