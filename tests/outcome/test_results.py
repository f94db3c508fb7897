"""A run that has trained, looked at from outside: evaluate, where its data lie, the best step."""

import json
import shutil
from pathlib import Path

import pytest
import timm
import torch
from finished import train
from trees import folder_tree

from eln_kit import cli
from eln_kit.batch import report
from eln_kit.faults import CheckpointError, ParamsError
from eln_kit.outcome import results
from eln_kit.store import checkpoint
from eln_kit.store.experiment import open_experiment, reopen

pytestmark = pytest.mark.slow


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


def test_a_run_that_no_command_made_tells_its_params_by_its_checkpoints(run):
    (run.folder / "params.yaml").unlink()
    assert reopen(run.folder).params == run.params


@pytest.fixture
def far(tiny, tmp_path):
    """A run of stages 1 and 2 whose images, classes, list of labels and initial weights lie outside of it."""
    root = folder_tree(tmp_path / "data", train=3, val=1, unlabeled=2)
    classes, labels, weights = (tmp_path / name for name in ("classes.yaml", "labels.txt", "resnet.pth"))
    classes.write_text("classes: [{name: sky}, {name: kite, color: [1, 2, 3]}]")
    labels.write_text("00\n02\n")
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
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
