"""Decoders by name, and encoders that stay as they came."""

import pytest
import torch

from eln_kit.faults import ParamsError
from eln_kit.method.stages import SemiSupervised
from eln_kit.models import Networks, Segmenter
from eln_kit.models.encoder import Encoder
from eln_kit.params import Model, Optimizer
from eln_kit.store.params_file import build

PYRAMIDS = ["segformer", "fpn", "upernet"]
SMALL = Model(encoder="test_resnet", eln_encoder="test_resnet", decoder_channels=32, embedding_channels=4)


@pytest.mark.parametrize("decoder", PYRAMIDS)
@pytest.mark.parametrize("encoder", ["test_resnet", "tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_a_decoder_gives_logits_at_stride_4_and_predicts_an_odd_image_at_its_size(decoder, encoder):
    segmenter = Segmenter(SMALL.model_copy(update={"decoder": decoder, "encoder": encoder}), classes=3).eval()
    prediction = segmenter(torch.rand(2, 3, 64, 96))
    assert [tuple(each.shape[2:]) for each in prediction.features] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert prediction.logits.shape == (2, 3, 16, 24)
    assert prediction.embedding.shape == (2, 4, 16, 24)
    assert segmenter.predict(torch.rand(1, 3, 75, 101)).shape == (1, 3, 75, 101)


def test_a_pyramid_is_the_networks_own_maps_without_dilation():
    encoder = Encoder("resnet18", pyramid=True).eval()
    image = torch.rand(1, 3, 64, 96)
    assert all(torch.equal(a, b) for a, b in zip(encoder(image), encoder.network(image)[1:], strict=True))
    assert all(each.dilation == (1, 1) for each in encoder.modules() if isinstance(each, torch.nn.Conv2d))


def test_an_unknown_decoder_and_a_width_that_does_not_fit_are_one_line_with_the_mend():
    with pytest.raises(ParamsError) as error:
        build({}, {"model.decoder": "segfromer"})
    assert "model.decoder = 'segfromer': should be 'deeplabv3plus', 'segformer', 'fpn' or 'upernet'" in str(error.value)
    with pytest.raises(ParamsError, match=r"model\.decoder_channels = 48: model\.decoder = fpn needs a multiple of 32"):
        Segmenter(SMALL.model_copy(update={"decoder": "fpn", "decoder_channels": 48}), classes=3)


def test_dilations_and_a_pyramid_are_refused_together():
    with pytest.raises(ParamsError, match=r"dilations are for model\.decoder = deeplabv3plus"):
        Encoder("resnet18", dilations=[2, 4], pyramid=True)


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_a_frozen_encoder_learns_nothing_keeps_its_statistics_and_the_rest_learns(tiny, encoder):
    torch.manual_seed(0)
    knobs = {"model.freeze_encoder": True, "model.encoder": encoder, "semi_supervised.filter": "none"}
    params = tiny(knobs | {"model.decoder": "segformer", "model.decoder_channels": 32})
    networks = Networks(params, classes=9).train()
    before = {name: value.clone() for name, value in networks.student.encoder.state_dict().items()}
    images = {name: torch.rand(2, 3, 64, 64) for name in ("image", "weak", "strong")}
    masks = {name: torch.randint(0, 9, (2, 64, 64)) for name in ("mask", "truth")}
    losses, _ = SemiSupervised(networks, params)({**images, **masks, "valid": torch.ones(2, 64, 64, dtype=torch.bool)})
    sum(losses.values()).backward()
    torch.optim.AdamW(networks.parameter_groups(Optimizer(lr=0.1))).step()
    assert all(torch.equal(before[name], value) for name, value in networks.student.encoder.state_dict().items())
    assert not networks.student.encoder.training
    assert networks.student.decoder.training
    assert all(each.grad is None for each in networks.student.encoder.parameters())
    assert next(networks.student.decoder.parameters()).grad.abs().max() > 0
    given = {id(each) for group in networks.parameter_groups(Optimizer()) for each in group["params"]}
    assert not given & {id(each) for each in networks.student.encoder.parameters()}


@pytest.mark.parametrize("decoder", PYRAMIDS)
def test_one_tiny_image_is_learnt_from_and_predicted(decoder):
    segmenter = Segmenter(SMALL.model_copy(update={"decoder": decoder}), classes=3).train()
    segmenter(torch.rand(1, 3, 32, 32)).logits.sum().backward()
    assert segmenter.eval().predict(torch.rand(1, 3, 20, 32)).shape == (1, 3, 20, 32)
