"""Every stage on a GPU that is not there: fake tensors on `cuda`, published settings, full size, autocast to bf16.

A tensor left on the processor, or a wait for the device (`.item()`, `nonzero`, a boolean index), is an error.
Autograd itself does not run there, so of the backward pass only our own function is called, by itself.
"""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from eln_kit.evaluation import examples
from eln_kit.evaluation.predict import predict
from eln_kit.method.contrast import Contrast
from eln_kit.method.stages import STAGES, ErrorLocalization, SemiSupervised
from eln_kit.models import Networks
from eln_kit.outcome import detectors
from eln_kit.store.params_file import load
from eln_kit.training import trial

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def params():
    return load("voc_20_res50", ["model.encoder_weights=none", "model.eln_weights=none"])


@pytest.fixture(scope="module")
def networks(params):
    return Networks(params, 21)


def on_a_fake_gpu(stage, mode):
    for module in stage.modules():
        for name, value in module._parameters.items():
            if value is not None:
                fake = mode.from_tensor(value).detach().to("cuda")
                module._parameters[name] = nn.Parameter(fake, value.requires_grad)
        for name, value in module._buffers.items():
            module._buffers[name] = None if value is None else mode.from_tensor(value).to("cuda")


def whole_step(stage, batch):
    """The losses, and the teacher's average after them."""
    losses, _ = stage(batch)
    stage.update_teacher(1)
    return losses


def step(kind, params, networks, act=whole_step):
    """What `act` gives of a stage and its batch there; the networks stay as they are."""
    seen: list[torch.dtype] = []
    mode = FakeTensorMode()
    stage = kind(networks, params).train()
    kept = [(module, dict(module._parameters), dict(module._buffers)) for module in stage.modules()]
    there = {"is_available": mock.Mock(return_value=True), "is_bf16_supported": mock.Mock(return_value=True)}
    with mock.patch.multiple("torch.cuda", **there):
        cast = torch.autocast("cuda", torch.bfloat16)
    try:
        with mode, cast:
            on_a_fake_gpu(stage, mode)
            networks.student.decoder.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
            return act(stage, {name: part.to("cuda") for name, part in trial._batch(params, 1).items()}), seen
    finally:
        for module, parameters, buffers in kept:
            module._parameters.update(parameters)
            module._buffers.update(buffers)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "bound"])
def test_a_stages_step_stays_on_the_gpu_and_never_waits_for_it(params, networks, name):
    losses, seen = step(STAGES[name], params, networks)
    assert losses
    assert {loss.device.type for loss in losses.values()} == {"cuda"}
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize("knobs", [{"class_share": 0.6}, {"filter": "entropy"}, {"filter": "oracle"}, {}])
def test_what_a_figure_shows_of_stage_3_stays_on_the_gpu(params, networks, monkeypatch, knobs):
    chosen = params.model_copy(update={"semi_supervised": params.semi_supervised.model_copy(update=knobs)})

    def teach(stage, batch):
        monkeypatch.setattr(examples, "_read", lambda *_: (batch["weak"][:1], None))
        return examples.teach(stage, None, None)

    shown, _ = step(SemiSupervised, chosen, networks, teach)
    assert {each.device.type for each in (shown.keep, *shown.predictions, *shown.wrongness)} == {"cuda"}


def test_what_a_figure_shows_of_stage_2_stays_on_the_gpu(params, networks, monkeypatch):
    def examine(stage, batch):
        monkeypatch.setattr(examples, "_read", lambda *_: (batch["image"][:1], None))
        return examples.examine(stage.networks, None, None, params)

    shown, _ = step(ErrorLocalization, params, networks, examine)
    assert {each.device.type for each in (*shown.predictions, *shown.wrongness)} == {"cuda"}


def test_every_detector_stays_on_the_gpu(params, networks):
    def scores(stage, batch):
        image, student = batch["weak"][:1], stage.networks.student.eval()
        logits = predict(student, image, params.evaluation)
        networks = stage.networks.eval()
        case = detectors.Study(image, logits, student, networks.eln, networks.eln, networks=networks, peers=(student,))
        return {name: each.trust(case) for name, each in detectors.DETECTORS.items()}

    with torch.no_grad():
        found, _ = step(SemiSupervised, params, networks, scores)
    assert {name: each.device.type for name, each in found.items()} == dict.fromkeys(detectors.DETECTORS, "cuda")


def test_the_contrasts_own_gradient_stays_on_the_gpu_and_never_waits_for_it(params):
    knobs, images = params.semi_supervised, params.data.batch_unlabeled
    kept, pixels = SimpleNamespace(), images * knobs.window**2
    kept.save_for_backward = lambda *tensors: setattr(kept, "saved_tensors", tensors)
    with FakeTensorMode():
        maps = torch.zeros(knobs.windows, pixels, params.model.embedding_channels, dtype=torch.bfloat16).to("cuda")
        labels, members = (torch.zeros(knobs.windows, pixels, *more).to("cuda") for more in ((), (21,)))
        loss = Contrast.forward(kept, maps, maps, labels, labels, labels, members, knobs.temperature)
        gradient, *others = Contrast.backward(kept, torch.ones_like(loss))
    assert (gradient.device.type, gradient.dtype, gradient.shape) == ("cuda", torch.bfloat16, maps.shape)
    assert set(others) == {None}


WAITS = [
    lambda mask: mask.max().item(),
    lambda mask: int(mask.sum()),
    lambda mask: mask.nonzero(),
    lambda mask: mask[mask > 0],
]


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_for_the_device_would_be_seen(params, networks, wait):
    with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
        step(SemiSupervised, params, networks, lambda stage, batch: wait(batch["mask"]))


def test_a_tensor_left_on_the_processor_would_be_seen(params, networks):
    with pytest.raises(RuntimeError, match="device"):
        step(SemiSupervised, params, networks, lambda stage, batch: stage(batch | {"mask": batch["mask"].to("cpu")}))
