import math

import plain
import pytest
import torch

from eln_kit.method import losses
from eln_kit.params import ErrorLocalization

VOID = 255


def logits_of(probabilities):
    """`B C H W` logits whose softmax is the given nested list of class probabilities, one list a pixel in a row."""
    return torch.tensor(probabilities).log().T[None, :, None, :]


def test_cross_entropy_is_the_mean_of_minus_log_p_over_the_non_void_pixels():
    logits = logits_of([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]])
    mask = torch.tensor([[[0, 1, VOID]]])
    expected = (math.log(2) - math.log(0.75)) / 2
    assert losses.cross_entropy(logits, mask).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_can_be_averaged_over_other_pixels():
    logits = logits_of([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    mask = torch.tensor([[[0, VOID, VOID, VOID]]])
    every = torch.ones(1, 1, 4, dtype=torch.bool)
    assert losses.cross_entropy(logits, mask, every).item() == pytest.approx(math.log(2) / 4, rel=1e-5)


def test_a_weight_is_a_factor_of_each_pixel_of_its_class():
    logits = logits_of([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]])
    mask, weights = torch.tensor([[[0, 1, VOID]]]), torch.tensor([3.0, 0.5])
    expected = (3 * math.log(2) - 0.5 * math.log(0.75)) / 2
    assert losses.cross_entropy(logits, mask, weights=weights).item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_of_nothing_but_void_is_zero_with_a_zero_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = losses.cross_entropy(logits, torch.full((1, 4, 4), VOID), weights=torch.ones(logits.shape[1]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


def test_logits_are_brought_to_the_size_of_the_mask():
    constant = torch.zeros(1, 2, 3, 3)
    assert losses.cross_entropy(constant, torch.zeros(1, 9, 7)).item() == pytest.approx(math.log(2), rel=1e-5)


def test_an_auxiliary_decoder_learns_only_while_above_its_ratio_of_the_main_loss():
    main = torch.tensor(0.1, requires_grad=True)
    auxiliary = [torch.tensor(0.5, requires_grad=True), torch.tensor(0.4, requires_grad=True)]
    loss = losses.auxiliary_loss(auxiliary, main, [2.0, 5.0])  # limits 0.2 and 0.5: the first is above its own
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert (auxiliary[0].grad.item(), auxiliary[1].grad.item(), main.grad.item()) == (1, 0, 0)


def test_no_auxiliary_decoder_means_no_auxiliary_loss():
    assert losses.auxiliary_loss([], torch.tensor(0.3), []).item() == 0


def test_the_target_of_eln_is_one_where_right_zero_where_wrong_and_void_where_void():
    logits = logits_of([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    target = losses.correctness(logits, torch.tensor([[[0, 1, VOID]]]))
    assert target.tolist() == [[[1, 0, VOID]]]


@pytest.mark.parametrize(("right", "max_weight", "weight"), [(3, 100, 3), (9, 2, 2)])
def test_a_wrong_pixel_weighs_as_much_as_right_ones_are_more_numerous_within_a_bound(right, max_weight, weight):
    target = torch.tensor([[[1] * right + [0, VOID]]])
    loss = losses.error_localization_loss(torch.zeros(1, 1, 1, right + 2), target, max_weight)
    assert loss.item() == pytest.approx((right + weight) * math.log(2) / (right + 1), rel=1e-5)


def test_true_class_probability_and_its_loss_by_hand():
    logits = torch.tensor([0.7, 0.2, 0.1]).log().view(1, 3, 1, 1).expand(1, 3, 1, 3)
    target = losses.true_class_probability(logits, torch.tensor([[[0, 2, VOID]]]))
    assert target.flatten().tolist() == pytest.approx([0.7, 0.1, VOID])
    judged = torch.logit(torch.tensor([0.5, 0.6, 0.9])).view(1, 1, 1, 3)
    assert losses.true_class_loss(judged, target).item() == pytest.approx((0.2**2 + 0.5**2) / 2)
    assert losses.true_class_loss(judged, torch.full((1, 1, 3), float(VOID))).item() == 0


@pytest.mark.parametrize("target", ["right", "true_class"])
def test_the_judgement_of_several_predictions_costs_the_sum_of_what_each_costs(target):
    knobs, mask = ErrorLocalization(target=target), torch.randint(0, 3, (2, 4, 4))
    logits, judged = torch.randn(4, 3, 4, 4), torch.randn(4, 1, 4, 4)
    parts = [losses.judgement_loss(judged[p], logits[p], mask, knobs) for p in (slice(2), slice(2, 4))]
    assert losses.judgement_loss(judged, logits, mask, knobs, 2).item() == pytest.approx(sum(parts).item())
    if target == "right":
        expected = losses.error_localization_loss(judged[:2], losses.correctness(logits[:2], mask), knobs.max_weight)
        assert parts[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("value", [0, 1, VOID])
def test_elns_loss_stays_finite_with_only_right_only_wrong_or_only_void_pixels(value):
    judged = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = losses.error_localization_loss(judged, torch.full((1, 2, 2), value), max_weight=20)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(judged.grad).all()
    assert (loss.item() == 0) == (value == VOID)


def test_void_pixels_do_not_move_eln():
    judged = torch.randn(1, 1, 1, 3, requires_grad=True)
    losses.error_localization_loss(judged, torch.tensor([[[1, 0, VOID]]]), 20).backward()
    assert judged.grad[0, 0, 0, 2] == 0
    assert judged.grad[0, 0, 0, 0] < 0 < judged.grad[0, 0, 0, 1]


def plain_contrast(student, teacher, labels, temperature):
    """The equation in loops and float64: mean over classes of the mean over the class's pixels."""
    cosine = torch.nn.functional.cosine_similarity
    per_class = []
    for c in sorted(set(labels) - {VOID}):
        terms = []
        for i in [i for i, label in enumerate(labels) if label == c]:
            e = {j: math.exp(cosine(student[i], teacher[j], dim=0) / temperature) for j in range(len(labels))}
            positive = sum(e[j] for j, label in enumerate(labels) if label == c)
            everything = sum(e[j] for j, label in enumerate(labels) if label != VOID)
            terms.append(-math.log(positive / everything))
        per_class.append(sum(terms) / len(terms))
    return sum(per_class) / len(per_class)


def contrast(student, teacher, labels, temperature=0.5, classes=4):
    """Of pixels in one window: student and teacher `N E`, labels a list."""
    maps = [pixels.T.reshape(1, 1, -1, 1, len(pixels)) for pixels in (student, teacher)]
    return losses.contrastive_loss(*maps, torch.tensor(labels).view(1, 1, 1, -1), temperature, classes)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_contrastive_loss_is_its_equation(temperature):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    labels = [0, 0, 1, VOID, 2, 1]
    expected = plain_contrast(student, teacher, labels, temperature)
    assert contrast(student, teacher, labels, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_windows_are_contrasted_each_by_itself_and_images_of_a_batch_together():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 2, 4, 1, 3)  # B W E h w
    labels = torch.tensor([[[0, 1, 1], [2, VOID, 0]], [[1, 1, 0], [0, 0, 2]]])[:, :, None]
    expected = []
    for window in range(2):
        pixels = [maps[:, window].permute(0, 2, 3, 1).reshape(6, 4).double() for maps in (student, teacher)]
        expected.append(plain_contrast(*pixels, labels[:, window].flatten().tolist(), 0.5))
    loss = losses.contrastive_loss(student, teacher, labels, 0.5, 4)
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_embeddings_nearer_to_their_own_class_have_a_lower_contrastive_loss():
    teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert contrast(teacher, teacher, [0, 0, 1, 1]) < contrast(teacher.flip(1), teacher, [0, 0, 1, 1])


@pytest.mark.parametrize("labels", [[VOID] * 4, [3] * 4])
def test_contrast_without_a_kept_pixel_or_without_another_class_is_zero(labels):
    student = torch.randn(4, 8, requires_grad=True)
    loss = contrast(student, torch.randn(4, 8), labels)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(student.grad).all()


def test_contrast_moves_the_student_only():
    student, teacher = (torch.randn(4, 8, requires_grad=True) for _ in range(2))
    contrast(student, teacher, [0, 1, 1, VOID]).backward()
    assert student.grad[0].abs().sum() > 0
    assert student.grad[3].abs().sum() == 0
    assert teacher.grad is None


def test_a_pseudo_label_is_the_teachers_class_where_kept_and_void_elsewhere():
    logits = logits_of([[0.9, 0.1], [0.2, 0.8]])
    assert losses.pseudo_label(logits, torch.tensor([[[True, False]]])).tolist() == [[[0, VOID]]]


@pytest.mark.parametrize("tile", [1, 700, 2**22])  # rows one by one, some together, all windows together
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_contrast_in_tiles_is_the_plain_loss_and_gradient(monkeypatch, tile, temperature):
    monkeypatch.setattr("eln_kit.method.contrast.TILE", tile)
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, 3, 8, 4, 5, generator=draw) for _ in range(2))
    labels = torch.randint(0, 4, (2, 3, 4, 5), generator=draw)
    labels[torch.rand(labels.shape, generator=draw) < 0.3] = VOID
    student.requires_grad_()
    loss = losses.contrastive_loss(student, teacher, labels, temperature, 4)
    (3 * loss).backward()
    exact = student.detach().double().requires_grad_()
    expected = plain.contrastive_loss(exact, teacher.double(), labels, temperature, 4)
    (gradient,) = torch.autograd.grad(expected, exact)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert (student.grad / 3 - gradient).norm() < 1e-5 * gradient.norm()


def test_under_float16_the_contrastive_gradient_is_that_of_float32():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 1, 8, 16, 16)
    labels, slopes = torch.randint(0, 3, (2, 1, 16, 16)), []
    for half in (False, True):
        moving = student.clone().requires_grad_()
        with torch.autocast("cpu", torch.float16, enabled=half):
            losses.contrastive_loss(moving, teacher, labels, 0.5, 3).backward()
        slopes.append(moving.grad)
    assert torch.allclose(*slopes, rtol=1e-5, atol=0)
