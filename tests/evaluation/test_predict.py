import pytest
import torch
from trees import masked_dataset, write_image, write_mask

from eln_kit.data import Split
from eln_kit.evaluation.examples import examine, teach
from eln_kit.evaluation.predict import _starts, judge, predict, prepare
from eln_kit.evaluation.trust import error_detection
from eln_kit.faults import ParamsError
from eln_kit.method.stages import SemiSupervised
from eln_kit.models import Networks
from eln_kit.outcome.detection import detect
from eln_kit.params import Evaluation
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import build


class Local(torch.nn.Module):
    """A segmenter of two classes whose logits are a pixel's red and a constant; it notes the sizes it saw."""

    def __init__(self):
        super().__init__()
        self.constant = torch.nn.Parameter(torch.tensor(0.5))
        self.seen = []

    def predict(self, image):
        self.seen.append(tuple(image.shape[2:]))
        red = image[:, :1]
        return torch.cat([red, self.constant.expand_as(red)], dim=1)


class Sided(Local):
    """Its first logit is higher on the left half of whatever it sees."""

    def predict(self, image):
        side = torch.linspace(1, 0, image.shape[3]).expand(1, 1, *image.shape[2:])
        return torch.cat([side, 1 - side], dim=1)


def test_windows_cover_the_image_overlap_and_end_at_its_border():
    assert _starts(10, 4, 0.5) == [0, 2, 4, 6]
    assert _starts(11, 4, 0.5) == [0, 2, 4, 5, 7]
    assert _starts(4, 4, 0.5) == [0]


def test_windows_of_a_local_network_give_what_the_whole_image_gives():
    image, network = torch.rand(1, 3, 20, 30), Local()
    whole = predict(network, image, Evaluation())
    in_windows = predict(network, image, Evaluation(window=[16, 16]))
    assert network.seen[0] == (20, 30)
    assert set(network.seen[1:]) == {(16, 16)}
    assert torch.allclose(whole, in_windows, atol=1e-6)


class Judge(torch.nn.Module):
    """Its logit of being right is the first class's logit less the image's green; it notes the sizes it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def judge_prediction(self, segmenter, image, logits):
        self.seen.append((tuple(image.shape[2:]), tuple(logits.shape[2:])))
        return logits[:, :1] - image[:, 1:2]


def test_eln_judges_in_the_same_windows():
    image, logits, eln = torch.rand(1, 3, 20, 30), torch.rand(1, 2, 20, 30), Judge()
    judged = judge(eln, None, image, logits, Evaluation(window=[16, 16]))
    assert set(eln.seen) == {((16, 16), (16, 16))}
    assert torch.allclose(judged, logits[:, :1] - image[:, 1:2], atol=1e-6)


@pytest.mark.slow
def test_with_windows_no_network_ever_sees_a_larger_image(tiny, tmp_path, monkeypatch):
    params = tiny({"evaluation.window": [32, 32], "model.eln_scales": [0.5]})
    dataset = masked_dataset(tmp_path, [(0, 1)] * 2, classes=9)
    for item in dataset.train:
        write_image(item.image, (40, 72))
        write_mask(item.mask, (0, 1), (40, 72))
    networks = Networks(params, classes=9).eval()
    stage = SemiSupervised(networks, params)
    experiment = Experiment(params, tmp_path, dataset, Split(dataset.train, []))
    monkeypatch.setattr(Experiment, "networks", lambda self, after: networks)
    seen = []
    for network in (networks.student.encoder, networks.teacher.encoder, networks.eln.encoder):
        network.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[2:])))
    examine(networks, dataset.val[0], dataset, params)
    teach(stage, dataset.val[0], dataset)
    error_detection(networks.student, networks.eln, dataset, params)
    monkeypatch.setattr("eln_kit.outcome.detectors.VIEWS", [(1.0, True)])
    detect(experiment, "2_error_localization", peers=(networks.teacher,))
    assert set(seen) == {(32, 32), (16, 16)}


def test_an_image_smaller_than_the_window_is_seen_whole():
    network = Local()
    predict(network, torch.rand(1, 3, 20, 30), Evaluation(window=[64, 64]))
    assert network.seen == [(20, 30)]


def test_with_the_mirrored_image_a_sided_network_has_no_side_left():
    logits = predict(Sided(), torch.rand(1, 3, 8, 9), Evaluation(flip=True))
    assert torch.allclose(logits[:, 0], logits[:, 1], atol=1e-6)
    plain = predict(Sided(), torch.rand(1, 3, 8, 9), Evaluation())
    assert not torch.allclose(plain[:, 0], plain[:, 1], atol=0.1)


def test_scales_are_seen_and_their_probabilities_averaged():
    network = Local()
    logits = predict(network, torch.full((1, 3, 20, 30), 0.8), Evaluation(scales=[0.5, 1.0, 2.0]))
    assert network.seen == [(10, 15), (20, 30), (40, 60)]
    assert torch.allclose(logits.softmax(1)[0, 0], torch.tensor([0.8, 0.5]).softmax(0)[0].expand(20, 30), atol=1e-5)


def test_the_official_protocol_resizes_image_and_mask_and_otherwise_the_mask_keeps_its_size():
    image, mask = torch.zeros(3, 40, 60, dtype=torch.uint8), torch.full((40, 60), 7, dtype=torch.uint8)
    seen, truth = prepare(image, mask, build({}, {"evaluation.size": [32, 32], "data.resize": 0.5}))
    assert seen.shape == (1, 3, 32, 32)
    assert truth.shape == (32, 32)
    assert (truth == 7).all()
    seen, truth = prepare(image, mask, build({}, {"data.resize": 0.5}))
    assert seen.shape == (1, 3, 20, 30)
    assert truth.shape == (40, 60)


@pytest.mark.parametrize("knob", ["evaluation.size", "evaluation.window"])
def test_a_size_has_two_sides(knob):
    with pytest.raises(ParamsError, match="height and width"):
        build({}, {knob: [505]})
