"""The split that a run folder keeps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from finished import copied
from trees import voc_tree

from eln_kit.data import DataSet, Item, splits
from eln_kit.faults import CheckpointError, ParamsError
from eln_kit.store import experiment
from eln_kit.store.experiment import open_experiment

pytestmark = pytest.mark.slow


def item(id: str) -> Item:
    return Item(id, Path(f"{id}.png"), Path(f"{id}.mask.png"))


VOC_IDS = ["2007_000032", "2007_000039", "2007_000063", "2007_000068"]


@pytest.fixture
def no_draw(monkeypatch):
    """From now on an experiment cannot make a split anew."""

    def forbid():
        monkeypatch.setattr(experiment, "make_split", lambda *_: pytest.fail("the split was made anew"))

    return forbid


def test_a_run_that_was_opened_before_does_not_draw_again(tiny, no_draw):
    first = open_experiment(tiny()).split
    no_draw()
    again = open_experiment(tiny({"data.workers": 1, "data.batch_labeled": 1, "data.held_out": 1})).split
    assert (again, again.source) == (first, "drawn with seed 0 (all masks read)")


def test_the_knob_that_asks_for_another_split_is_named(tiny):
    open_experiment(tiny())
    with pytest.raises(ParamsError, match=r"split\.json: .* \(seed was 0 and is 3\); choose another run\.folder"):
        open_experiment(tiny({"data.seed": 3}))


def test_a_data_set_that_has_grown_asks_for_another_split(tiny, tmp_path):
    root = tmp_path / "voc"
    knobs = {"data.name": "voc", "data.root": str(root), "data.labels": "1/2"}
    voc_tree(root, VOC_IDS, ["2007_000033"])
    open_experiment(tiny(knobs))
    shutil.rmtree(root)
    voc_tree(root, VOC_IDS, ["2007_000033"], augmented=[*VOC_IDS, "2008_000001", "2008_000002"])
    with pytest.raises(ParamsError, match=r"images was 4 and is 6, masks was 4 and is 6"):
        open_experiment(tiny(knobs))


def test_an_edited_list_is_refused(tiny, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("0001\n")
    knobs = {"data.labeled_ids": str(file)}
    open_experiment(tiny(knobs))
    file.write_text("0002\n")
    with pytest.raises(ParamsError, match=r"split\.json: the data knobs ask for another split now; "):
        open_experiment(tiny(knobs))


def test_a_split_file_of_an_older_version_is_compared_and_then_knows_its_knobs(tiny, no_draw):
    first = open_experiment(tiny())
    path = first.folder / "split.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({part: kept[part] for part in ("labeled", "unlabeled")}))
    with pytest.raises(ParamsError, match=r"split\.json: the data knobs ask for another split now; "):
        open_experiment(tiny({"data.labels": 5}))
    assert open_experiment(tiny()).split == first.split
    no_draw()
    assert open_experiment(tiny()).split == first.split


def test_held_out_images_share_no_group_with_those_that_are_trained_on():
    frames = [item(f"{drive}_{number}") for drive in "abcd" for number in range(3)]
    alone = DataSet("frames", ["one"], np.zeros((1, 3), np.uint8), frames, [])
    drives = replace(alone, groups="[a-d]")
    assert [each.id for each in splits.held_out(frames, alone, 2)] == ["a_0", "d_2"]
    assert {each.id[0] for each in splits.held_out(frames, drives, 2)} == {"a"}
    held_out = splits.held_out(frames, drives, 4)
    assert ({each.id[0] for each in held_out}, len(held_out)) == ({"a", "d"}, 6)
    assert splits.held_out(frames, drives, 0) == []


def test_a_run_folder_that_cannot_be_written_is_read_and_not_trained_in(run, monkeypatch):
    monkeypatch.setattr("eln_kit.store.experiment.os.access", lambda *_: False)
    monkeypatch.setattr("eln_kit.store.experiment.write_whole", lambda *_: pytest.fail("a file was written"))
    assert experiment.reopen(run.folder).split == run.split
    with pytest.raises(ParamsError, match="cannot be written"):
        open_experiment(run.params)


def test_a_run_of_another_version_whose_params_are_not_known_says_its_version(whole, tiny, tmp_path, monkeypatch):
    run = tiny()
    copied(whole, run, "1_supervised")
    file = tmp_path / "run" / "params.yaml"
    file.write_text("semi_supervised: {gone: 1}\n")
    with pytest.raises(ParamsError, match=r"there is no knob semi_supervised\.gone"):
        experiment.load_params(file.parent)
    monkeypatch.setattr("eln_kit.store.checkpoint.__version__", "99")
    with pytest.raises(CheckpointError, match=r"1_supervised/checkpoint\.pt: made by eln-kit .*, and this is 99"):
        experiment.load_params(file.parent)
