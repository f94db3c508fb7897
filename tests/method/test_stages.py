from pathlib import Path

import pytest
import torch

from eln_kit.data import Item, Split
from eln_kit.method.stages import (
    Bound,
    Control,
    ErrorLocalization,
    SemiSupervised,
    Supervised,
    follow_weight,
    stages_of,
)
from eln_kit.models import Networks
from eln_kit.models.features import Features, upsample
from eln_kit.models.segmenter import complementary_channels

VOID = 255


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "image": torch.rand(2, 3, 32, 32),
        "mask": torch.randint(0, 4, (2, 32, 32)),
        "weak": torch.rand(2, 3, 32, 32),
        "strong": torch.rand(2, 3, 32, 32),
        "valid": torch.ones(2, 32, 32, dtype=torch.bool),
        "truth": torch.randint(0, 4, (2, 32, 32)),
    }


def make(stage, params, classes=4):
    return stage(Networks(params, classes), params).train()


def reached(network):
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_class_weights_are_factors_of_labels_and_pseudo_labels_alike_and_of_nothing_else(tiny, batch):
    def found(weights):
        stage = make(SemiSupervised, tiny({"semi_supervised.filter": "none"}))
        stage.class_weights = weights
        torch.manual_seed(0)
        return {name: loss.item() for name, loss in stage(batch | {"strong": batch["weak"]})[0].items()}

    plain, doubled = found(None), found(torch.full((4,), 2.0))
    expected = {name: loss * (2 if name in ("main", "weak", "strong") else 1) for name, loss in plain.items()}
    assert doubled == pytest.approx(expected, rel=1e-4)


def test_in_stage_2_the_auxiliary_decoders_have_the_class_weights_too(tiny, batch):
    found = []
    for weights in (None, torch.full((4,), 2.0)):
        stage = make(ErrorLocalization, tiny({"error_localization.ratios": [1.0, 1.0]}))
        stage.class_weights = weights
        torch.manual_seed(0)
        for decoder in stage.networks.auxiliary:
            torch.nn.init.normal_(decoder.classify[-1].weight, std=3.0)
        found.append(stage(batch)[0])
    assert found[1]["auxiliary"].item() == pytest.approx(2 * found[0]["auxiliary"].item(), rel=1e-4)
    assert found[1]["eln"].item() == pytest.approx(found[0]["eln"].item(), rel=1e-4)


def test_stage_1_teaches_the_student_alone(tiny, batch):
    stage = make(Supervised, tiny())
    sum(stage(batch)[0].values()).backward()
    networks = stage.networks
    assert reached(networks.student)
    assert not any(reached(part) for part in (networks.auxiliary, networks.eln, networks.teacher))


@pytest.mark.parametrize(("loss", "part"), [("main", "student"), ("auxiliary", "auxiliary"), ("eln", "eln")])
def test_in_stage_2_each_loss_reaches_only_its_own_network(tiny, batch, loss, part):
    stage = make(ErrorLocalization, tiny({"error_localization.ratios": [1.0, 1.0]}))
    for decoder in stage.networks.auxiliary:  # worse than the main decoder, so that the gate is open
        torch.nn.init.normal_(decoder.classify[-1].weight, std=3.0)
    if part == "eln":  # behind a last layer that starts at zero nothing would be reached
        torch.nn.init.normal_(stage.networks.eln.judge[-1].weight)
    stage(batch)[0][loss].backward()
    got = {name for name in ("student", "auxiliary", "eln", "teacher") if reached(getattr(stage.networks, name))}
    assert got == {part}


def test_a_decoder_whose_gate_is_closed_does_not_move_at_all(tiny, batch):
    stage = make(ErrorLocalization, tiny({"error_localization.ratios": [1.0, 1000.0]}))
    torch.nn.init.normal_(stage.networks.auxiliary[0].classify[-1].weight, std=3.0)
    optimizer = torch.optim.AdamW(stage.networks.auxiliary.parameters(), lr=0.1, weight_decay=0.1)
    before = [decoder.classify[-1].weight.clone() for decoder in stage.networks.auxiliary]
    sum(stage(batch)[0].values()).backward()
    stage.before_optimizer()
    optimizer.step()
    after = [decoder.classify[-1].weight for decoder in stage.networks.auxiliary]
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [False, True]


def test_eln_judges_predictions_made_without_dropout(tiny, batch):
    stage = make(ErrorLocalization, tiny())
    features = stage.networks.student(batch["image"]).features
    assert torch.equal(stage.without_dropout(features), stage.without_dropout(features))
    assert all(module.training for module in stage.networks.student.modules())


def test_each_decoder_is_judged_by_its_own_looks(tiny, batch):
    stage = make(ErrorLocalization, tiny({"model.eln_scales": [0.5]}))
    (looks,) = stage.looks(batch["image"], stage.networks.student(batch["image"]).features)
    small = upsample(batch["image"].flip(3), (16, 16))
    networks = stage.networks.eval()
    features = networks.student(small).features
    expected = [networks.student(small).logits, *(decoder(features) for decoder in networks.auxiliary)]
    assert torch.allclose(looks, torch.cat(expected).flip(3))


@torch.no_grad()
def test_on_features_eln_sees_those_that_the_class_head_reads_for_every_decoder(tiny, batch):
    stage = make(ErrorLocalization, tiny({"model.eln_form": "features", "model.eln_scales": [0.5]}))
    networks = stage.networks.eval()
    decoded, views = stage.looks(batch["image"], networks.student(batch["image"]).features)
    assert torch.equal(decoded, networks.student.decoded(batch["image"]).repeat(3, 1, 1, 1))
    assert len(views) == len(decoded)
    assert torch.allclose(networks.eln.look_again(networks.student, batch["image"])[0], decoded[: len(decoded) // 3])
    losses, _ = stage(batch)
    assert losses["eln"].isfinite()


def test_a_step_moves_the_students_batchnorm_statistics_once(tiny, batch):
    for kind in (Supervised, ErrorLocalization, SemiSupervised):
        stage = make(kind, tiny())
        norms = [m for m in stage.networks.student.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        stage(batch)
        assert {m.num_batches_tracked.item() for m in norms} == {1}


def test_in_stage_3_pseudo_labels_teach_the_student_alone(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.labeled": False, "semi_supervised.filter": "none"}))
    losses, _ = stage(batch)
    assert set(losses) == {"weak", "strong", "contrast_weak", "contrast_strong"}
    sum(losses.values()).backward()
    assert reached(stage.networks.student)
    assert not any(reached(p) for p in (stage.networks.auxiliary, stage.networks.eln, stage.networks.teacher))


def test_a_view_that_no_loss_uses_does_not_pass_the_student(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.weak_weight": 0.0, "semi_supervised.contrast_weight": 0.0}))
    seen = []
    stage.networks.student.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert "weak" not in stage(batch)[0]
    assert seen == [2 + 2]


def test_strong_views_in_a_pass_of_their_own_are_normalised_apart(tiny, batch):
    knobs = {"semi_supervised.strong_pass": "own", "semi_supervised.filter": "none"}
    knobs |= {"semi_supervised.strong_views": 2, "semi_supervised.complementary": True}
    stage = make(SemiSupervised, tiny(knobs))
    seen = []
    note = lambda _, inputs, named: seen.append((len(inputs[0]), named["complementary"]))  # noqa: E731
    stage.networks.student.register_forward_pre_hook(note, with_kwargs=True)
    losses, _ = stage(batch | {"strong_2": torch.rand(2, 3, 32, 32)})
    assert seen == [(2 + 2, False), (2 + 2, True)]
    assert set(losses) == {"main", *(f"{c}{v}" for v in ("weak", "strong", "strong_2") for c in ("", "contrast_"))}


def test_complementary_views_share_no_channel_but_in_images_that_keep_all():
    torch.manual_seed(0)
    features = complementary_channels(Features([torch.ones(16, 6, 2, 2), torch.ones(16, 4, 1, 1)]))
    for maps in features:
        first, second = maps.chunk(2)
        assert torch.equal(first + second, torch.full_like(first, 2))
    whole = [(maps[:8] == 1).flatten(1).all(1) for maps in features]
    assert torch.equal(*whole)
    assert whole[0].sum() == 4


def test_the_unlabelled_part_can_be_switched_off(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.unlabeled": False}))
    assert not stage.unlabeled
    losses, _ = stage({name: batch[name] for name in ("image", "mask")})
    assert set(losses) == {"main", "auxiliary", "eln"}


def test_a_filter_that_keeps_nothing_stops_no_training(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.labeled": False}))
    stage.networks.eln.shift.data.fill_(-1e4)
    losses, measures = stage(batch)
    sum(losses.values()).backward()
    assert measures["kept_share"] == 0
    assert all(loss.item() == 0 for loss in losses.values())
    assert all(torch.isfinite(p.grad).all() for p in stage.networks.parameters() if p.grad is not None)


def test_padding_is_never_a_pseudo_label(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.filter": "none"}))
    batch["valid"][:, :, :10] = False
    labels, _, measures = stage.label(batch)
    assert (labels[:, :, :10] == VOID).all()
    assert (labels[:, :, 10:] != VOID).all()
    assert measures["kept_share"] == 1


def test_each_filter_keeps_what_its_name_says(tiny, batch):
    logits = torch.randn(2, 4, 32, 32) * 3

    def keep(name, threshold=0.5):
        stage = make(SemiSupervised, tiny({"semi_supervised.filter": name, "semi_supervised.threshold": threshold}))
        return stage.keep(batch, logits)

    sure = logits.softmax(1).amax(1)
    assert torch.equal(keep("confidence", 0.9), sure >= 0.9)
    assert torch.equal(keep("eln", 0.9), sure >= 0.9)  # the residual form begins as the confidence
    kept = keep("entropy", 0.25)
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1)
    assert kept.sum() == kept.numel() // 4
    assert entropy[kept].max() < entropy[~kept].min()
    batch["valid"][:, :, :16] = False  # of the real pixels alone
    assert (keep("entropy", 0.25) & batch["valid"]).sum() == kept.numel() // 2 // 4
    assert torch.equal(keep("oracle"), logits.argmax(1) == batch["truth"])
    assert keep("none").all()


@pytest.mark.parametrize("name", ["eln", "confidence", "entropy"])
def test_with_a_share_of_each_class_no_class_is_dropped_however_doubtful(tiny, batch, name):
    logits = torch.randn(2, 4, 32, 32)
    logits[:, 1:] *= 5  # what is taken for class 0 is in doubt
    stage = make(SemiSupervised, tiny({"semi_supervised.filter": name, "semi_supervised.class_share": 0.5}))
    batch["valid"][:, :, :16] = False
    classes, kept = logits.argmax(1), stage.keep(batch, logits)
    assert not kept[~batch["valid"]].any()
    for place in range(4):
        mine = (classes == place) & batch["valid"]
        assert (kept & mine).sum() == (mine.sum() + 1) // 2
        sure = logits.softmax(1).amax(1)
        assert name == "entropy" or sure[kept & mine].min() >= sure[mine & ~kept].max()


@pytest.mark.parametrize("name", ["eln", "confidence", "views"])
def test_an_adaptive_threshold_keeps_some_of_a_class_that_is_never_sure(tiny, batch, name):
    logits = torch.randn(2, 4, 32, 32) / 4
    logits[:, 3, :, 16:] += 6  # what is taken for the other classes, on the left, is in doubt
    kept = {}
    for adaptive in (False, True):
        knobs = {"filter": name, "threshold": 0.9, "adaptive": adaptive}
        more = {"model.eln_scales": [0.5]} if name == "views" else {}
        stage = make(SemiSupervised, tiny(more | {f"semi_supervised.{knob}": value for knob, value in knobs.items()}))
        kept[adaptive] = stage.keep(batch, logits)
    assert not kept[False][..., :16].any()
    assert 0.1 < kept[True][..., :16].float().mean() < 0.9
    assert torch.equal(kept[True][..., 16:], kept[False][..., 16:])


def test_on_a_ramp_the_losses_of_unlabelled_images_rise_with_the_steps_and_the_labelled_ones_do_not(tiny, batch):
    found = {}
    for ramp, step in ((0, 1), (4, 1), (4, 4), (4, 9)):
        stage = make(SemiSupervised, tiny({"semi_supervised.filter": "none", "semi_supervised.ramp": ramp}))
        stage.step = step
        torch.manual_seed(0)
        found[ramp, step] = {name: loss.item() for name, loss in stage(batch)[0].items()}
    full, quarter = found[0, 1], found[4, 1]
    labelled = {"main", "auxiliary", "eln"}
    assert quarter == pytest.approx({n: loss / (1 if n in labelled else 4) for n, loss in full.items()}, rel=1e-4)
    assert found[4, 4] == pytest.approx(full, rel=1e-4)
    assert found[4, 9] == pytest.approx(full, rel=1e-4)


def test_an_image_whose_labels_take_implausible_shares_teaches_nothing(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.filter": "none"}))
    largest = torch.ones(4)
    with torch.no_grad():
        (said,) = stage.networks.teacher.predict(batch["weak"]).argmax(1).unique().tolist()
    for share, kept in ((1.0, True), (0.5, False)):
        largest[said] = share
        stage.largest_shares = largest
        assert ((stage.label(batch)[0] != VOID) == kept).all()


def test_labels_of_the_views_are_those_of_their_mean(tiny, batch):
    stage = make(SemiSupervised, tiny({"semi_supervised.filter": "views", "model.eln_scales": [0.5]}))
    teacher = stage.networks.teacher
    with torch.no_grad():
        one = teacher.predict(batch["weak"]).softmax(1)
        small = teacher(upsample(batch["weak"].flip(3), (16, 16))).logits.flip(3)
        mean = (one + upsample(small, (32, 32)).softmax(1)) / 2
    assert stage.label(batch)[0].equal(mean.argmax(1).masked_fill(mean.amax(1) < 0.5, VOID))


@pytest.mark.parametrize("calibrated", [True, False])
def test_eln_follows_the_weight_of_the_main_decoders_wrong_pixels(tiny, batch, calibrated):
    stage = make(ErrorLocalization, tiny({"error_localization.calibrated": calibrated}))
    logits = torch.zeros(2, 4, 32, 32)
    logits[:, 0] = 1
    mask = torch.ones(2, 32, 32, dtype=torch.long)
    mask[:, :24] = 0  # three right pixels for a wrong one
    for _ in range(200):
        follow_weight(stage.networks.eln, logits, mask, stage.params.error_localization)
    assert stage.networks.eln.log_weight.exp().item() == pytest.approx(3 if calibrated else 1, rel=1e-3)


def test_the_bound_teaches_eln_alone_from_the_truth_of_unlabelled_images(tiny, batch):
    stage = make(Bound, tiny({"evaluation.bound_steps": 4}))
    before = {name: value.clone() for name, value in stage.networks.student.state_dict().items()}
    losses, _ = stage(batch)
    losses["eln"].backward()
    assert reached(stage.networks.eln)
    assert not reached(stage.networks.student)
    assert not reached(stage.networks.auxiliary)
    assert all(torch.equal(value, before[name]) for name, value in stage.networks.student.state_dict().items())
    wrong = batch | {"truth": 3 - batch["truth"]}
    torch.manual_seed(0)
    assert stage(wrong)[0]["eln"] != losses["eln"]


def test_a_run_trains_the_bound_and_the_control_where_they_are_asked_for(tiny):
    plain = [kind.name for kind in stages_of(tiny({"run.control": False}))]
    assert plain == ["1_supervised", "2_error_localization", "3_semi_supervised"]
    more = [kind.name for kind in stages_of(tiny({"evaluation.bound_steps": 4}))]
    assert more == ["1_supervised", "2_error_localization", "bound", "3_semi_supervised", "control"]
    without_truth = Split([], [Item("a", Path("a.png"))])
    assert Bound not in stages_of(tiny({"evaluation.bound_steps": 4}), without_truth)


def test_auxiliary_decoders_and_eln_rest_where_another_filters(tiny, batch):
    losses, _ = make(SemiSupervised, tiny({"semi_supervised.filter": "confidence"}))(batch)
    assert set(losses) == {"main", "weak", "strong", "contrast_weak", "contrast_strong"}


def test_the_truth_of_unlabelled_images_changes_no_loss_unless_the_filter_is_the_oracle(tiny, batch):
    for name, same in (("eln", True), ("oracle", False)):
        stage = make(SemiSupervised, tiny({"semi_supervised.filter": name})).eval()
        with_truth = stage(batch)[0]["weak"]
        without = stage(batch | {"truth": torch.full((2, 32, 32), VOID)})[0]["weak"]
        assert torch.equal(with_truth, without) == same


def test_labelling_leaves_eln_in_training_mode_and_its_statistics_alone(tiny, batch):
    stage = make(SemiSupervised, tiny())
    before = {k: v.clone() for k, v in stage.networks.eln.state_dict().items()}
    stage.label(batch)
    assert stage.networks.eln.training
    assert all(torch.equal(before[k], v) for k, v in stage.networks.eln.state_dict().items())


def test_the_teacher_follows_in_stage_3_and_in_the_control_and_rests_before(tiny):
    for kind, follows in ((Supervised, False), (ErrorLocalization, False), (SemiSupervised, True), (Control, True)):
        stage = make(kind, tiny())
        stage.networks.student.classify[-1].bias.data.fill_(9.0)
        before = stage.networks.teacher.classify[-1].bias.clone()
        stage.update_teacher(1)
        assert (stage.networks.teacher.classify[-1].bias > before).all() == follows, kind


def test_in_stages_2_and_3_eln_looks_again_at_the_scales_of_the_params(tiny, batch, monkeypatch):
    stage, seen = make(SemiSupervised, tiny({"model.eln_scales": [0.5]})), []
    forward = stage.networks.eln.forward
    monkeypatch.setattr(
        stage.networks.eln, "forward", lambda image, logits, looks: seen.append(looks) or forward(image, logits, looks)
    )
    stage(batch)
    assert [tuple(look.shape) for looks in seen for look in looks] == [(6, 4, 4, 4), (2, 4, 4, 4)]
