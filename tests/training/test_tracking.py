"""What trackers get."""

import pytest
from finished import train

from eln_kit.evaluation import segmentation
from eln_kit.faults import ParamsError

pytestmark = pytest.mark.slow


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
