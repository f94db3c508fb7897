"""The contrastive loss's inner part, with its gradient: tile by tile, so that no window's similarities are kept."""

from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake

from eln_kit.data.items import VOID

TILE, GPU_TILE = 2**20, 2**28  # similarities at a time: what a processor's caches hold; a gigabyte on a GPU


class Contrast(torch.autograd.Function):
    """Sum over pixels i of `weight_i (log sum_j exp(s_ij / t) - log sum_{j of i's class} exp(s_ij / t))`.

    A tile's rows see all columns, so a tile's gradient is known with its loss: two products of matrices in all.

    Args:
        student, teacher: unit vectors, `W N E` and `W M E`, each window by itself, in float or in the precision that
            similarities and gradient are to be computed in; all sums are float. Only the student's gets a gradient.
        mine, theirs: labels, `W N` and `W M`; a void j counts in no sum.
        weight: float `W N`, 0 for a void i.
        members: one-hot `theirs`, float `W M C`, zero for void.
        temperature: t.
    """

    @staticmethod
    def forward(
        ctx: Any,
        student: Tensor,
        teacher: Tensor,
        mine: Tensor,
        theirs: Tensor,
        weight: Tensor,
        members: Tensor,
        temperature: float,
    ) -> Tensor:
        loss, gradient = weight.new_zeros(()), torch.zeros_like(student)
        bias = weight.new_full(theirs.shape, -1 / temperature).masked_fill_(theirs == VOID, -torch.inf)[:, None]
        most = TILE if student.device.type == "cpu" else GPU_TILE
        together = max(1, most // (mine.shape[1] * theirs.shape[1]))
        for first in range(0, len(mine), together):
            windows = slice(first, first + together)
            rows, columns = _kept(mine[windows]), _kept(theirs[windows])
            fixed = teacher[windows][:, columns], bias[windows][..., columns], members[windows][:, columns]
            moving = [tensor[windows][:, rows] for tensor in (student, mine, weight)]
            height = max(1, most // max(1, fixed[1].numel()))
            tiles = zip(*(tensor.split(height, dim=1) for tensor in moving), strict=True)
            parts = [_tile(*tile, *fixed, temperature) for tile in tiles]  # type: ignore[call-arg]
            loss = loss + sum(part for part, _ in parts)
            gradient[windows][:, rows] = torch.cat([part for _, part in parts], dim=1)
        ctx.save_for_backward(gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return above * gradient, None, None, None, None, None, None


def _tile(
    student: Tensor,
    mine: Tensor,
    weight: Tensor,
    teacher: Tensor,
    bias: Tensor,
    members: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Loss of some rows, and its gradient: `w n E`, `w n`, `w n` against all of `w m E`, `w 1 m`, `w m C`.

    The bias is -1 / t, and minus infinity where void.
    """
    exponential = (student @ teacher.mT).float().div_(temperature).add_(bias).exp_()  # of (s - 1) / t; w n m
    mass = exponential @ members  # w n C
    least = torch.finfo(mass.dtype).tiny
    total = mass.sum(2, keepdim=True).clamp(min=least)
    index = mine.long().clamp(max=mass.shape[2] - 1)[..., None]
    own = mass.gather(2, index).clamp(min=least)
    loss = (weight[..., None] * (total.log() - own.log())).sum()
    share = weight[..., None] / temperature
    by_class = (share / total).expand_as(mass).scatter_add(2, index, -share / own)
    by_class, members = by_class.to(student.dtype), members.to(student.dtype)
    return loss, exponential.to(student.dtype).mul_(by_class @ members.mT) @ teacher


def _kept(labels: Tensor) -> Tensor | slice:
    """Pixels that are kept in any of the windows, `w n`; all where knowing would mean to wait for a GPU, or to compute
    while memory alone is reckoned.
    """
    return slice(None) if labels.is_cuda or is_fake(labels) else (labels != VOID).any(0).nonzero()[:, 0]
