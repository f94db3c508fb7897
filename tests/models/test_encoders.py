"""Encoders beyond the paper's: each takes a training step of stage 3, as student and as ELN."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from eln_kit.faults import ParamsError
from eln_kit.method.stages import SemiSupervised
from eln_kit.models import Networks
from eln_kit.models.encoder import Encoder

pytestmark = pytest.mark.slow

BY_DAY = ("mambaout_femto", "hrnet_w18_small", "vit_tiny_patch16_224")  # channels last, wants multiples of 32, no CNN
SMALL = [
    *BY_DAY,
    "mobilenetv3_small_050",
    "regnetx_002",
    "convnext_atto",
    "efficientvit_b0",
    "pvt_v2_b0",
    "swin_tiny_patch4_window7_224",
    "vit_small_patch14_dinov2",
]


@pytest.fixture
def batch():
    torch.manual_seed(0)
    images = {name: torch.rand(2, 3, 64, 64) for name in ("image", "weak", "strong")}
    masks = {name: torch.randint(0, 9, (2, 64, 64)) for name in ("mask", "truth")}
    return {**images, **masks, "valid": torch.ones(2, 64, 64, dtype=torch.bool)}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in BY_DAY else pytest.mark.nightly) for name in SMALL]
)
def test_an_encoder_takes_a_step_of_stage_3(name, tiny, batch):
    params = tiny({"model.encoder": name, "model.eln_encoder": name, "model.eln_form": "published"})
    networks = Networks(params, classes=9).train()
    losses, _ = SemiSupervised(networks, params)(batch)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    for encoder in (networks.student.encoder, networks.eln.encoder):
        first = next(encoder.parameters()).grad  # the farthest from the loss
        assert first.isfinite().all()
        assert first.abs().max() > 0


@pytest.mark.parametrize(
    ("name", "deep"),
    [
        ("resnet10t", (5, 7)),  # stride 16, rounded up
        ("convnext_atto", (4, 6)),  # 16, rounded down
        ("tf_efficientnet_lite0", (5, 6)),  # 16, of 80 x 96
        ("hrnet_w18_small", (2, 3)),  # 32, of an image of 64 x 96
        ("mambaout_femto", (3, 4)),
        ("swin_tiny_patch4_window7_224", (2, 3)),
        ("vit_tiny_patch16_224", (5, 6)),  # 16, of 80 x 96
        ("vit_small_patch14_dinov2", (5, 7)),  # 14, of 70 x 98
        ("xcit_nano_12_p8_224", (10, 13)),
    ],
)
def test_low_features_are_at_stride_4_and_deep_ones_as_near_16_as_the_network_comes(name, deep):
    encoder = Encoder(name, in_channels=5).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 5, 75, 101))
    assert features.low.shape == (1, encoder.channels[0], 19, 26)
    assert features.deep.shape == (1, encoder.channels[1], *deep)


@pytest.mark.parametrize(("pyramid", "blocks"), [(False, [2, 11]), (True, [2, 5, 8, 11])])
def test_a_vision_transformer_gives_an_early_and_its_last_block_or_four_evenly_spaced(pyramid, blocks):
    network = Encoder("vit_tiny_patch16_224", pyramid=pyramid).network
    assert network.out_indices == blocks
    assert network.model.norm.weight.requires_grad  # all go through it


def test_weights_of_a_vision_transformer_come_from_a_file_for_any_image_size_and_more_channels(tmp_path):
    donor = Encoder("vit_tiny_patch16_224").network.model
    file = tmp_path / "vit.safetensors"
    save_file({k: v.contiguous() for k, v in donor.state_dict().items()}, file)
    encoder = Encoder("vit_tiny_patch16_224", str(file), in_channels=13)
    assert torch.equal(encoder.network.model.blocks[11].mlp.fc2.weight, donor.blocks[11].mlp.fc2.weight)
    assert encoder(torch.rand(1, 13, 40, 64)).deep.shape == (1, 192, 2, 4)
    with pytest.raises(ParamsError, match="are not weights of resnet10t: its tensors have other names"):
        Encoder("resnet10t", str(file))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cait_xxs24_224", "encoder cait_xxs24_224: takes images of 224 x 224 pixels only; choose another"),
        ("vit_tiny_patch99", "encoder vit_tiny_patch99: timm has no such network; near: "),
    ],
)
def test_what_cannot_be_an_encoder_is_one_clear_line(name, message):
    with pytest.raises(ParamsError) as error:
        Encoder(name)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def convolutions(encoder):
    """Dilations of the last stage's 3x3 convolutions, a list a block."""
    return [
        [m.dilation[0] for m in block.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
        for block in encoder.network.layer4
    ]


def test_a_resnets_last_stage_is_dilated_as_the_paper_has_it():
    assert convolutions(Encoder("resnet50")) == [[1], [2], [2]]  # timm's own
    encoder = Encoder("resnet50", dilations=[2, 4, 8])
    assert convolutions(encoder) == [[2], [4], [8]]
    assert encoder(torch.rand(2, 3, 65, 65)).deep.shape == (2, 2048, 5, 5)
    assert convolutions(Encoder("resnet34")) == [[1, 2], [2, 2], [2, 2]]
    assert convolutions(Encoder("resnet34", dilations=[1, 1, 1])) == [[1, 1]] * 3


def test_dilations_that_do_not_fit_are_one_clear_line():
    with pytest.raises(ParamsError, match=r"convnext_atto: is no ResNet; leave model\.dilations and model\.eln_dil"):
        Encoder("convnext_atto", dilations=[2, 4, 8])
    with pytest.raises(ParamsError, match="resnet10t: its last stage has 1 block, and 3 dilations are given; give one"):
        Encoder("resnet10t", dilations=[2, 4, 8])


def test_both_encoders_get_the_dilations_of_the_params(tiny):
    knobs = {"model.encoder": "resnet18", "model.dilations": [3, 5], "model.eln_encoder": "resnet18"}
    networks = Networks(tiny(knobs | {"model.eln_dilations": [1, 1]}), classes=9)
    assert convolutions(networks.student.encoder) == [[3, 3], [5, 5]]
    assert convolutions(networks.teacher.encoder) == [[3, 3], [5, 5]]
    assert convolutions(networks.eln.encoder) == [[1, 1], [1, 1]]


def test_weights_of_a_smaller_network_or_a_part_of_one_are_refused_and_what_a_larger_one_has_besides_is_said(
    tmp_path, capsys
):
    for name in ("resnet18", "resnet34"):
        state = timm.create_model(name).state_dict()
        save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / f"{name}.safetensors")
    late = {k: v.contiguous() for k, v in state.items() if not k.startswith(("conv1", "layer1", "layer2"))}
    save_file(late, tmp_path / "late.safetensors")
    for file, lacking, first in (("resnet18", 48, "layer1.2.conv1.weight"), ("late", 46, "conv1.weight")):
        lacks = rf"not weights of resnet34: lacks {lacking} of its 108 tensors, such as {first}"
        with pytest.raises(ParamsError, match=lacks):
            Encoder("resnet34", str(tmp_path / f"{file}.safetensors"))
    Encoder("resnet34", str(tmp_path / "resnet34.safetensors"), in_channels=8)
    assert capsys.readouterr().err == ""
    Encoder("resnet18", str(tmp_path / "resnet34.safetensors"))
    assert "96 of its tensors are not used, as resnet18 has no layer1.2." in capsys.readouterr().err


def test_a_file_whose_layer_scales_are_as_they_were_initialised_is_whole(tmp_path):
    save_file(timm.create_model("convnext_atto").state_dict(), tmp_path / "w.safetensors")
    Encoder("convnext_atto", str(tmp_path / "w.safetensors"))
