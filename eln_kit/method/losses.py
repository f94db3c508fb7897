"""The losses, as pure functions; the equations are those of Kwon and Kwak (CVPR 2022, arXiv 2204.02078).

Masks and labels are integer `B H W` with classes 0..C-1 and 255 for void, which counts in no loss. Every loss is a
scalar, and 0 with gradient 0 where there is nothing to learn from.
"""

from functools import partial, reduce

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from eln_kit.data.items import VOID
from eln_kit.method.contrast import Contrast
from eln_kit.models.features import predicted, upsample
from eln_kit.params import ErrorLocalization

FEW = 1e-6  # what a count of pixels is at least, so that 0 / 0 is 0


def over_processes(value: Tensor) -> Tensor:
    """The mean of a value over the processes that train together, without gradient; alone, the value.

    Losses divide by such means of counts. So the mean of the processes' losses, which distributed training follows,
    is the loss that one process with all their images would have.
    """
    if not dist.is_initialized():
        return value.detach()
    total = value.detach().float().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def from_processes(tensor: Tensor) -> Tensor:
    """The tensors of all processes that train together, joined along the first axis, without gradient."""
    if not dist.is_initialized():
        return tensor.detach()
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.detach().contiguous())
    return torch.cat(parts)


def cross_entropy(
    logits: Tensor, mask: Tensor, average_over: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the non-void pixels.

    Args:
        logits: float `B C h w`; resized to the mask.
        mask: long `B H W`.
        average_over: bool `B H W`; divide the sum by these pixels' number instead of the non-void ones'.
        weights: float `C`, factors of the pixels of each class.
    """
    logits = upsample(logits, mask.shape[1:]).float()
    losses = F.cross_entropy(logits, mask.long(), weights, ignore_index=VOID, reduction="sum")
    counted = mask != VOID if average_over is None else average_over
    return losses / over_processes(counted.sum()).clamp(min=FEW)


def auxiliary_loss(losses: list[Tensor], main_loss: Tensor, ratios: list[float]) -> Tensor:
    """Sum of the auxiliary decoders' cross-entropies, each only while above its ratio times the main one.

    That gate keeps the decoders worse than the main one, by different degrees: `sum_k [l_k > r_k l] l_k`.
    """
    main = over_processes(main_loss)
    gated = (loss * (over_processes(loss) > ratio * main) for loss, ratio in zip(losses, ratios, strict=True))
    return sum(gated, main_loss * 0)


def correctness(logits: Tensor, mask: Tensor) -> Tensor:
    """ELN's target: 1 where the prediction is right, 0 where it is wrong, 255 where the mask is void.

    Args: logits float `B C h w`, resized to the mask; mask `B H W`. Returns: uint8 `B H W`.
    """
    right = predicted(upsample(logits.detach().float(), mask.shape[1:])) == mask
    return right.to(torch.uint8).masked_fill(mask == VOID, VOID)


def error_localization_loss(judged: Tensor, target: Tensor, max_weight: float) -> Tensor:
    """Binary cross-entropy of ELN, wrong pixels weighted by (right pixels / wrong pixels).

    Args:
        judged: ELN's logits, float `B 1 H W`.
        target: `correctness`, `B H W`.
        max_weight: bound of the weight, which otherwise grows without limit as errors become rare.
    """
    right, wrong = target == 1, target == 0
    weight = wrong_pixels_weight(target, max_weight)
    losses = F.binary_cross_entropy_with_logits(judged[:, 0].float(), right.float(), reduction="none")
    return (losses * right + weight * losses * wrong).sum() / over_processes((right | wrong).sum()).clamp(min=FEW)


def wrong_pixels_weight(target: Tensor, max_weight: float) -> Tensor:
    """(right pixels / wrong pixels) of `correctness`, within 1 / max_weight and max_weight."""
    many, few = over_processes(torch.stack([(target == 1).sum(), (target == 0).sum()]))
    return (many / few.clamp(min=FEW)).clamp(min=1 / max_weight, max=max_weight)


def true_class_probability(logits: Tensor, mask: Tensor) -> Tensor:
    """What the prediction gives the true class, float `B H W` in 0..1; 255 where the mask is void.

    Args: as of `correctness`.
    """
    known = mask != VOID
    probabilities = upsample(logits.detach().float(), mask.shape[1:]).softmax(dim=1)
    of_truth = probabilities.gather(1, mask.long().where(known, 0)[:, None])[:, 0]
    return of_truth.masked_fill(~known, VOID)


def true_class_loss(judged: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of ELN's probability to `true_class_probability` (ConfidNet; Corbière et al., NeurIPS 2019).

    Args: as of `error_localization_loss`.
    """
    known = target != VOID
    errors = (judged[:, 0].float().sigmoid() - target).square() * known
    return errors.sum() / over_processes(known.sum()).clamp(min=FEW)


def judgement_loss(judged: Tensor, logits: Tensor, mask: Tensor, knobs: ErrorLocalization, count: int = 1) -> Tensor:
    """ELN's loss on `count` predictions of the same images, which passed it as one batch: the sum over them.

    Args:
        judged: ELN's logits, float `count*B 1 H W`.
        logits: of the predictions, `count*B C h w`.
        mask: `B H W`.
    """
    masks = mask.repeat(count, 1, 1)
    if knobs.target == "true_class":
        loss, target = true_class_loss, true_class_probability(logits, masks)
    else:
        loss, target = partial(error_localization_loss, max_weight=knobs.max_weight), correctness(logits, masks)
    return reduce(torch.add, map(loss, judged.chunk(count), target.chunk(count)))


def contrastive_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, classes: int) -> Tensor:
    """Pulls a pixel's student embedding to the teacher's of its class, pushes it from the other classes'.

    In each window, with `s_ij` the cosine similarity of student pixel i and teacher pixel j, `P_c` the pixels of c:
    `mean_c mean_{i in P_c} -log( sum_{j in P_c} exp(s_ij / t) / sum_j exp(s_ij / t) )`; then the mean over windows.
    The official code sums over i inside the logarithm and divides by `|P_c|` once more, which lets the term vanish
    as windows grow; this is the usual form of the same idea.

    Args:
        student, teacher: embeddings, float `B W E h w`, W windows of each image; the teacher's gets no gradient.
        labels: `B W h w`, 255 for dropped pixels.
        temperature: t, above 0.
        classes: C.

    Under autocast to bfloat16 the products of matrices are in it, their sums and logarithms in float. float16 would not
    hold the weights of single pixels.
    """
    student, mine = _by_window(student), _by_window(labels[:, :, None])[..., 0]  # W N E, W N
    teacher = _by_window(from_processes(teacher))  # W M E
    theirs = _by_window(from_processes(labels)[:, :, None])[..., 0]  # W M
    member = one_hot(mine, classes)  # W N C; zero where dropped
    count = over_processes(member.sum(1))  # W C
    present = (count > 0).sum(1, keepdim=True).clamp(min=1)
    weight = (member / (count.clamp(min=FEW) * present * len(count))[:, None]).sum(2)  # W N
    kind = student.device.type
    in_half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    precision = torch.bfloat16 if in_half else torch.float32
    with torch.autocast(kind, enabled=False):
        student, teacher = (F.normalize(embedding.float(), dim=2).to(precision) for embedding in (student, teacher))
        return Contrast.apply(student, teacher, mine, theirs, weight, one_hot(theirs, classes), temperature)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """`...` -> float `... C`; all zero where void."""
    return (labels[..., None] == torch.arange(classes, device=labels.device)).float()


def _by_window(maps: Tensor) -> Tensor:
    """`B W E h w` -> `W (B h w) E`."""
    return maps.permute(1, 0, 3, 4, 2).flatten(1, 3)


def pseudo_label(logits: Tensor, keep: Tensor) -> Tensor:
    """The teacher's classes where kept, void elsewhere: logits `B C H W`, keep bool `B H W` -> long `B H W`."""
    return predicted(logits).masked_fill(~keep, VOID)
