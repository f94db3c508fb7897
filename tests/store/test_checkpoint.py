"""Files of checkpoints: which is read, which are kept, which are refused."""

import dataclasses
from pathlib import Path

import pytest
import torch

from eln_kit import __version__
from eln_kit.faults import CheckpointError
from eln_kit.method.stages import STAGES, Control
from eln_kit.paths import project_root
from eln_kit.store import checkpoint


def whole(step: int) -> dict:
    return dict.fromkeys(checkpoint.KEYS, 1) | {"step": step, "networks": torch.arange(1000.0)}


def names(folder) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_last_few_checkpoints_are_kept_and_older_ones_deleted(tmp_path):
    path = tmp_path / checkpoint.FILE
    for step in range(1, 6):
        checkpoint.save(path, whole(step), keep=3)
    assert names(tmp_path) == ["checkpoint.1.pt", "checkpoint.2.pt", "checkpoint.pt"]
    assert [checkpoint.load(tmp_path / name)["step"] for name in names(tmp_path)] == [4, 3, 5]
    checkpoint.save(path, whole(6), keep=1)
    assert names(tmp_path) == ["checkpoint.pt"]


def test_where_the_newest_is_cut_short_the_one_before_it_is_read_and_said_so(tmp_path, capsys):
    path = tmp_path / checkpoint.FILE
    for step in (1, 2):
        checkpoint.save(path, whole(step), keep=2)
    path.write_bytes(path.read_bytes()[:-500])
    assert checkpoint.load(path)["step"] == 1
    assert "checkpoint.pt: not a whole checkpoint" in (said := capsys.readouterr().err)
    assert said.endswith("going on from checkpoint.1.pt\n")


def test_whether_a_stage_is_finished_is_told_without_reading_its_tensors(tmp_path):
    path = tmp_path / checkpoint.FILE
    checkpoint.save(path, whole(3) | {"finished": True})
    tensor = torch.arange(1000.0).numpy().tobytes()
    path.write_bytes(path.read_bytes().replace(tensor, bytes(len(tensor))))
    assert checkpoint.is_finished(path)
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"could not be written \(Not a directory\)"):
        checkpoint.save(tmp_path / "file" / "stage" / checkpoint.FILE, {})


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_names_a_notebook_that_is_there(stage):
    assert (project_root() / checkpoint.notebook_of(stage)).is_file()


def test_a_single_changed_bit_is_noticed(tmp_path):
    path = tmp_path / checkpoint.FILE
    checkpoint.save(path, whole(1))
    content = bytearray(path.read_bytes())
    place = content.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"not a whole checkpoint .*checksum"):
        checkpoint.load(path)


def test_a_kill_between_the_two_renames_leaves_a_checkpoint(tmp_path):
    path = tmp_path / "1_supervised" / checkpoint.FILE
    checkpoint.save(path, whole(1), keep=2)
    path.rename(path.with_name("checkpoint.1.pt"))
    assert checkpoint.exists(path)
    assert checkpoint.load(path)["step"] == 1
    assert checkpoint.stages(tmp_path) == [path]


@pytest.fixture
def stage_1(run):
    """An experiment with a finished stage 1, and its checkpoint."""
    path = run.folder / "1_supervised" / checkpoint.FILE
    return run, path, checkpoint.load(path)


def test_a_checkpoint_of_another_version_is_refused(stage_1):
    experiment, path, state = stage_1
    checkpoint.save(path, state | {"version": "0.0.1"})
    with pytest.raises(CheckpointError, match=r"made by eln-kit 0\.0\.1, and this is"):
        experiment.networks("1_supervised")


def test_a_checkpoint_of_other_classes_is_refused(stage_1):
    experiment, *_ = stage_1
    fewer = dataclasses.replace(experiment.dataset, classes=["sky", "road"])
    with pytest.raises(CheckpointError, match=r"made for 9 classes .* not for the 2 of shapes"):
        dataclasses.replace(experiment, dataset=fewer).networks("1_supervised")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(stage_1, value):
    experiment, path, state = stage_1
    next(iter(state["networks"]["student"].values())).view(-1)[0] = value
    checkpoint.save(path, state)
    with pytest.raises(CheckpointError, match="its student holds NaN or infinite weights"):
        experiment.networks("1_supervised")


def test_a_knob_newer_than_the_checkpoint_has_had_its_default(tiny):
    params = tiny()
    made_with = params.model_dump()
    del made_with["optimizer"]["schedule"]
    state = {"version": __version__, "params": made_with, "sections": ["optimizer"], "networks": {"student": {}}}
    checkpoint.check_same(Path("x.pt"), state, params)
    with pytest.raises(CheckpointError, match=r"optimizer.schedule was 'constant' and is 'poly'"):
        checkpoint.check_same(Path("x.pt"), state, tiny({"optimizer.schedule": "poly"}))


def test_the_control_depends_on_the_teachers_share_and_on_nothing_else_of_stage_3(tiny):
    state = {"version": __version__, "params": tiny().model_dump(), "networks": {"student": {}}}
    state["sections"] = list(Control.sections)
    checkpoint.check_same(Path("x.pt"), state, tiny({"semi_supervised.threshold": 0.9}))
    with pytest.raises(CheckpointError, match=r"semi_supervised.ema was 0.99 and is 0.5"):
        checkpoint.check_same(Path("x.pt"), state, tiny({"semi_supervised.ema": 0.5}))
