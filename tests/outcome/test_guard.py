"""Has stage 3 done harm?"""

import pytest
import torch

from eln_kit.faults import CheckpointError
from eln_kit.outcome import guard
from eln_kit.store.experiment import open_experiment


class OneClass(torch.nn.Module):
    """Says one class everywhere."""

    def __init__(self, experiment, index):
        super().__init__()
        self.place, self.classes, self.index = torch.nn.Parameter(torch.zeros(())), 9, index

    def predict(self, image):
        logits = torch.zeros(len(image), self.classes, *image.shape[2:])
        logits[:, self.index] = 1
        return logits


def test_a_network_that_calls_whole_images_a_small_class_has_done_harm_and_they_are_named(tiny, monkeypatch):
    experiment = open_experiment(tiny())
    monkeypatch.setattr(guard, "largest_shares", lambda *_: torch.tensor([1.0] + [0.2] * 8))
    usual, rare = OneClass(experiment, 0), OneClass(experiment, 1)
    found = guard.watch(experiment, usual, rare)
    assert found["harm"]
    assert found["kept"] == guard.kept_stage(experiment.folder) == "2_error_localization"
    assert found["agreement"] == 0
    assert found["faded"] == [experiment.dataset.classes[0]]
    assert found["implausible"]["before"] == []
    assert set(found["implausible"]["after"]) == {item.id for item in experiment.split.unlabeled}
    words = " ".join(guard.sentences(found))
    assert experiment.split.unlabeled[0].id in words
    assert "take the network of stage 2" in words
    assert f"pixels as before are called {experiment.dataset.classes[0]}:" in words
    assert not guard.watch(experiment, rare, usual)["harm"]
    assert guard.kept_stage(experiment.folder) == "3_semi_supervised"


def test_held_out_labels_decide_where_there_are_some(tiny):
    experiment = open_experiment(tiny({"data.held_out": 2}))
    scores = [(OneClass(experiment, index), index) for index in range(9)]
    measured = {index: guard.watch(experiment, network, network)["held_out"]["after"] for network, index in scores}
    best, worst = (which(measured, key=measured.get) for which in (max, min))
    assert measured[best] > measured[worst]
    assert guard.watch(experiment, scores[best][0], scores[worst][0])["harm"]
    assert not guard.watch(experiment, scores[worst][0], scores[best][0])["harm"]


def test_without_unlabelled_images_nothing_is_said_and_stage_3_is_kept(tiny):
    experiment = open_experiment(tiny({"data.labels": "1/1", "semi_supervised.unlabeled": False}))
    found = guard.watch(experiment, OneClass(experiment, 0), OneClass(experiment, 1))
    assert list(guard.sentences(found)) == []
    assert found["kept"] == "3_semi_supervised"
    assert found["agreement"] == pytest.approx(0)


def test_a_broken_file_of_the_guard_is_one_line(tmp_path):
    (tmp_path / guard.FILE).parent.mkdir()
    (tmp_path / guard.FILE).write_text("{")
    with pytest.raises(CheckpointError, match=r"guard\.json: cannot be read; delete it"):
        guard.kept_stage(tmp_path)
