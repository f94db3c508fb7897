"""The losses, as pure functions; the equations are those of Kwon and Kwak (CVPR 2022, arXiv 2204.02078).

Masks and labels are integer `B H W` with classes 0..C-1 and 255 for void, which counts in no loss. Every loss is a
scalar, and 0 with gradient 0 where there is nothing to learn from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from eln_kit.models.decoder import upsample

VOID = 255


def cross_entropy(logits: Tensor, mask: Tensor, average_over: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the non-void pixels.

    Args:
        logits: float `B C h w`; resized to the mask.
        mask: long `B H W`.
        average_over: bool `B H W`; divide the sum by these pixels' number instead of the non-void ones'.
    """
    losses = F.cross_entropy(upsample(logits, mask.shape[1:]).float(), mask.long(), ignore_index=VOID, reduction="sum")
    counted = mask != VOID if average_over is None else average_over
    return losses / counted.sum().clamp(min=1)


def auxiliary_loss(losses: list[Tensor], main_loss: Tensor, ratios: list[float]) -> Tensor:
    """Sum of the auxiliary decoders' cross-entropies, each only while above its ratio times the main one.

    That gate keeps the decoders worse than the main one, by different degrees: `sum_k [l_k > r_k l] l_k`.
    """
    limits = [ratio * main_loss.detach() for ratio in ratios]
    return sum((loss * (loss.detach() > limit) for loss, limit in zip(losses, limits, strict=True)), main_loss * 0)


def correctness(logits: Tensor, mask: Tensor) -> Tensor:
    """ELN's target: 1 where the prediction is right, 0 where it is wrong, 255 where the mask is void.

    Args: logits float `B C h w`, resized to the mask; mask `B H W`. Returns: uint8 `B H W`.
    """
    right = upsample(logits.detach().float(), mask.shape[1:]).argmax(dim=1) == mask
    return right.to(torch.uint8).masked_fill(mask == VOID, VOID)


def error_localization_loss(judged: Tensor, target: Tensor, max_weight: float) -> Tensor:
    """Binary cross-entropy of ELN, wrong pixels weighted by (right pixels / wrong pixels).

    Args:
        judged: ELN's logits, float `B 1 H W`.
        target: `correctness`, `B H W`.
        max_weight: bound of the weight, which otherwise grows without limit as errors become rare.
    """
    right, wrong = target == 1, target == 0
    weight = (right.sum() / wrong.sum().clamp(min=1)).clamp(min=1 / max_weight, max=max_weight)
    losses = F.binary_cross_entropy_with_logits(judged[:, 0].float(), right.float(), reduction="none")
    return (losses * right + weight * losses * wrong).sum() / (right | wrong).sum().clamp(min=1)


def contrastive_loss(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Pulls a pixel's student embedding to the teacher's of its class, pushes it from the other classes'.

    With `s_ij` the cosine similarity of student pixel i and teacher pixel j, and P_c the pixels of class c:
    `mean_c mean_{i in P_c} -log( sum_{j in P_c} exp(s_ij / t) / sum_j exp(s_ij / t) )`.
    The official code sums over i inside the logarithm and divides by |P_c| once more, which lets the term vanish
    as windows grow; this is the usual form of the same idea.

    Args:
        student, teacher: embeddings, float `B E h w`; the teacher's gets no gradient.
        labels: `B h w`, 255 for dropped pixels.
        temperature: t, above 0.
    """
    student = F.normalize(student.movedim(1, -1).flatten(0, 2), dim=1)  # N E
    teacher = F.normalize(teacher.detach().movedim(1, -1).flatten(0, 2), dim=1)
    labels = labels.flatten().long()
    kept = labels != VOID
    similarity = (student @ teacher.T).float() / temperature  # N N
    same = labels[:, None] == labels[None, :]
    everything = similarity.masked_fill(~kept[None, :], -torch.inf).logsumexp(dim=1)
    positives = similarity.masked_fill(~same, -torch.inf).logsumexp(dim=1)
    per_pixel = torch.where(kept, everything - positives, 0.0)
    nothing = per_pixel.new_zeros(VOID + 1)
    count = nothing.index_add(0, labels, kept.float())
    per_class = nothing.index_add(0, labels, per_pixel) / count.clamp(min=1)
    return per_class.sum() / (count > 0).sum().clamp(min=1)


def pseudo_label(logits: Tensor, keep: Tensor) -> Tensor:
    """The teacher's classes where kept, void elsewhere: logits `B C H W`, keep bool `B H W` -> long `B H W`."""
    return logits.argmax(dim=1).masked_fill(~keep, VOID)
