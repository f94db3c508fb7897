import math

import pytest
import torch
from safetensors.torch import save_file

from eln_kit.faults import ParamsError
from eln_kit.models import Networks, Segmenter
from eln_kit.models.decoder import Dropout
from eln_kit.models.encoder import Encoder
from eln_kit.models.error_localizer import (
    ErrorLocalizer,
    confidence_logit,
    entropy,
    mean_class_logit,
    mean_prediction,
)
from eln_kit.models.features import upsample
from eln_kit.params import Model, Optimizer

SMALL = Model(encoder="test_resnet", eln_encoder="test_resnet", decoder_channels=8, embedding_channels=4)


def test_local_weights_are_loaded_and_spread_over_more_input_channels(tmp_path):
    donor = Encoder("test_resnet")
    file = tmp_path / "w.safetensors"
    save_file({k: v.contiguous() for k, v in donor.network.state_dict().items()}, file)
    same = Encoder("test_resnet", str(file))
    for a, b in zip(donor.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert Encoder("test_resnet", str(file), in_channels=13)(torch.rand(2, 13, 32, 32)).low.shape[0] == 2


def test_weights_that_are_missing_broken_or_of_another_network_are_one_clear_line(tmp_path):
    with pytest.raises(ParamsError, match="no such weights file"):
        Encoder("test_resnet", str(tmp_path / "none.safetensors"))
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    with pytest.raises(ParamsError, match=r"broken\.safetensors"):
        Encoder("test_resnet", str(broken))


def test_the_segmenter_predicts_at_the_images_own_size_even_an_odd_one():
    segmenter = Segmenter(SMALL, classes=3).eval()
    prediction = segmenter(torch.rand(2, 3, 64, 64))
    assert prediction.logits.shape == (2, 3, 16, 16)
    assert prediction.embedding.shape == (2, 4, 16, 16)
    assert segmenter.predict(torch.rand(1, 3, 37, 61)).shape == (1, 3, 37, 61)


def test_entropy_is_in_nats_and_zero_for_a_sure_prediction():
    logits = torch.tensor([[0.0, 100.0], [0.0, 0.0], [0.0, 0.0]])[None, :, None, :]
    assert entropy(logits).flatten().tolist() == pytest.approx([math.log(3), 0], abs=1e-5)


def test_the_confidence_logit_is_that_of_the_max_softmax_and_stays_finite():
    p = torch.tensor([0.7, 0.2, 0.1])
    logits = torch.stack([p.log(), torch.tensor([500.0, 0, 0])])[..., None, None]
    assert confidence_logit(logits).flatten().tolist() == pytest.approx(
        [math.log(0.7 / 0.3), 500 - math.log(2)], rel=1e-5
    )


def test_residual_eln_begins_as_the_max_softmax_baseline():
    eln = ErrorLocalizer(SMALL, 3, (0.5,) * 3, (0.5,) * 3).eval()
    logits = torch.randn(2, 3, 32, 32)
    assert torch.allclose(eln(torch.rand(2, 3, 32, 32), logits), confidence_logit(logits), atol=1e-6)


def test_residual_eln_with_second_looks_begins_as_the_mean_of_what_each_look_says_of_the_class():
    model = SMALL.model_copy(update={"eln_scales": [0.5, 2.0]})
    eln = ErrorLocalizer(model, 3, (0.5,) * 3, (0.5,) * 3).eval()
    logits = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    looks = [torch.tensor(each).view(1, 3, 1, 1).expand(1, 3, 16, 16) for each in ([1.0, 0, 0], [0.0, 5, 0])]
    judged = eln(torch.rand(1, 3, 32, 32), logits, looks)

    def odds(p):
        return math.log(p / (1 - p))

    first = [each.softmax(0)[0].item() for each in torch.tensor([[2.0, 0, 0], [1.0, 0, 0], [0.0, 5, 0]])]
    assert judged.flatten()[0].item() == pytest.approx(sum(map(odds, first)) / 3, abs=1e-4)


def test_a_second_look_is_the_segmenters_prediction_of_the_mirrored_scaled_image_and_moves_no_statistics(tiny):
    networks = Networks(tiny({"model.eln_scales": [0.5]}), classes=9).train()
    image, before = torch.rand(2, 3, 32, 32), networks.student.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    (look,) = networks.eln.look_again(networks.student, image)
    assert networks.student.training
    assert all(torch.equal(before[name], value) for name, value in networks.student.state_dict().items())
    mirrored = networks.student.eval()(upsample(image.flip(3), (16, 16))).logits
    assert torch.allclose(look, mirrored.flip(3))
    assert not look.requires_grad


def test_eln_on_features_begins_as_the_max_softmax_baseline_and_is_a_fraction_of_the_network():
    model = SMALL.model_copy(update={"eln_form": "features"})
    eln, full = (ErrorLocalizer(each, 3, (0.5,) * 3, (0.5,) * 3).eval() for each in (model, SMALL))
    logits, features = torch.randn(2, 3, 8, 8), torch.randn(2, 8, 8, 8, requires_grad=True)
    judged = eln(torch.rand(2, 3, 32, 32), logits, [features])
    assert torch.allclose(judged, confidence_logit(upsample(logits, (32, 32))), atol=1e-5)
    torch.nn.init.ones_(eln.judge[-1].weight)
    eln(torch.rand(2, 3, 32, 32), logits, [features]).sum().backward()
    assert features.grad is None
    sizes = [sum(p.numel() for p in each.parameters()) for each in (eln, full)]
    assert sizes[0] < sizes[1] / 100


def test_in_evaluation_mode_the_weight_of_wrong_pixels_is_undone_and_no_ranking_changes():
    eln = ErrorLocalizer(SMALL, 3, (0.5,) * 3, (0.5,) * 3).train()
    image, logits = torch.rand(2, 3, 32, 32), torch.randn(2, 3, 8, 8)
    for _ in range(200):
        eln.follow_weight(torch.tensor(4.0))
    eln.eval()
    plain = confidence_logit(upsample(logits, (32, 32)))
    odds, odds_before = (each.sigmoid() / (1 - each.sigmoid()) for each in (eln(image, logits), plain))
    assert torch.allclose(odds, 4 * odds_before, rtol=1e-3)
    eln.slope.fill_(0.5)
    eln.offset.fill_(-1)
    judged = eln(image, logits)
    assert torch.allclose(eln.uncalibrated(judged), plain, atol=1e-4)
    assert torch.equal(judged.flatten().argsort(stable=True), eln.slope.mul(plain).flatten().argsort(stable=True))


def test_the_means_of_views_are_those_by_hand():
    first, second = torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1), torch.tensor([0.0, 3, 0]).view(1, 3, 1, 1)
    p = [each.softmax(1).flatten().tolist() for each in (first, second)]
    odds = sum(math.log(each[0] / (1 - each[0])) for each in p) / 2
    assert mean_class_logit(first, [second]).item() == pytest.approx(odds, abs=1e-5)
    mean = [(one + other) / 2 for one, other in zip(*p, strict=True)]
    assert mean_prediction(first, [second]).exp().flatten().tolist() == pytest.approx(mean, abs=1e-5)


def test_published_eln_is_the_network_alone():
    model = SMALL.model_copy(update={"eln_form": "published"})
    eln = ErrorLocalizer(model, 3, (0.5,) * 3, (0.5,) * 3).eval()
    logits = torch.randn(2, 3, 8, 8)
    judged = eln(torch.rand(2, 3, 32, 32), logits)
    assert judged.shape == (2, 1, 32, 32)
    assert judged.std() > 0
    assert not hasattr(eln, "scale")


def test_elns_inputs_get_no_gradient():
    eln = ErrorLocalizer(SMALL, 3, (0.5,) * 3, (0.5,) * 3)
    image, logits = torch.rand(2, 3, 32, 32, requires_grad=True), torch.randn(2, 3, 8, 8, requires_grad=True)
    eln(image, logits).sum().backward()
    assert image.grad is None
    assert logits.grad is None


def test_every_trainable_parameter_reaches_the_optimizer_once_and_batchnorm_is_among_them(tiny):
    networks = Networks(tiny(), classes=9)
    groups = networks.parameter_groups(Optimizer(encoder_lr_factor=0.1, eln_lr_factor=0.5))
    given = [id(p) for group in groups for p in group["params"]]
    trainable = {id(p) for p in networks.parameters() if p.requires_grad}
    assert len(given) == len(set(given))
    assert set(given) == trainable
    norms = [m for m in networks.student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(id(m.weight) in trainable for m in norms)
    share = {id(p): group["share"] for group in groups for p in group["params"]}
    assert share[id(norms[0].weight)] == 0.1
    assert share[id(next(networks.eln.encoder.parameters()))] == 0.05
    assert share[id(networks.eln.judge[0].weight)] == 0.5
    assert share[id(networks.eln.scale)] == share[id(networks.student.classify[0].weight)] == 1


def test_the_teacher_averages_weights_and_batchnorm_statistics_and_stays_in_evaluation_mode(tiny):
    networks = Networks(tiny({"semi_supervised.ema": 0.75}), classes=9).train()
    norm = networks.student.decoder.reduce[1]
    teacher = networks.teacher.decoder.reduce[1]
    mean, weight = teacher.running_mean.clone(), teacher.weight.clone()
    norm.running_mean += 4
    norm.weight.data += 8
    networks.update_teacher(1)
    assert torch.allclose(teacher.running_mean, mean + 1)
    assert torch.allclose(teacher.weight, weight + 2)
    assert not teacher.training
    assert norm.training


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_dropout_drops_its_share_keeps_the_mean_and_gives_no_gradient_to_what_it_drops(order):
    maps = torch.ones(3, 5, 99, 7).to(memory_format=order).requires_grad_()  # a size that four does not divide
    dropout = Dropout(0.3)
    out = dropout(maps)
    assert out.unique().tolist() == [0, pytest.approx(1 / 0.7)]
    assert (out == 0).float().mean() == pytest.approx(0.3, abs=0.02)
    fours = (out.permute(0, 2, 3, 1).flatten() == 0).unfold(0, 4, 4)
    assert len(fours.unique(dim=0)) == 16  # neighbours do not hang together
    out.sum().backward()
    assert torch.equal(maps.grad, out.detach())
    assert dropout.eval()(maps) is maps


def test_heads_begin_with_the_deviation_of_he_et_al(tiny):
    networks = Networks(tiny({"model.decoder_channels": 32}), classes=9)
    for part in (networks.student.classify, networks.student.embed, networks.auxiliary[0].classify):
        convolutions = [each for each in part.modules() if isinstance(each, torch.nn.Conv2d)]
        assert convolutions
        for each in convolutions:
            inputs = each.weight[0].numel()
            assert each.weight.std().item() == pytest.approx(math.sqrt(2 / inputs), rel=0.2)


def test_a_teacher_that_warms_up_is_the_mean_of_the_first_students(tiny):
    networks = Networks(tiny({"semi_supervised.ema": 0.9, "semi_supervised.ema_warmup": True}), classes=9)
    weight = networks.student.classify[0].weight
    start = weight.detach().clone()
    for step in (1, 2, 3):
        weight.data.copy_(start + 12 * step)
        networks.update_teacher(step)
    assert torch.allclose(networks.teacher.classify[0].weight, start + (0 + 12 + 24 + 36) / 4, atol=1e-4)
