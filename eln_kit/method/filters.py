"""Which pseudo-labels to keep, given how sure one is of each."""

import torch
from torch import Tensor

from eln_kit.method.losses import FEW, over_processes


def surest(score: Tensor, among: Tensor, share: float) -> Tensor:
    """The share of the pixels `among` whose score is highest: bool, of the shape of `score`, ties kept.

    Args: score float and among bool, of one shape; share 0 to 1.
    """
    ranked = score.masked_fill(~among, -torch.inf).flatten().sort(descending=True).values
    count = (share * among.sum()).round().long()
    least = ranked.gather(0, (count - 1).clamp(min=0)[None])
    return (score >= least) & among & (count > 0)


def surest_of_each_class(score: Tensor, classes: Tensor, among: Tensor, share: float) -> Tensor:
    """The same share of each class, so that none that is seldom sure dies out (CBST, Zou et al., ECCV 2018).

    Args: score float, classes long (0 or more) and among bool, of one shape; share 0 to 1.

    Returns:
        bool, of that shape; of a class with n pixels `share * n`, rounded up.
    """
    score, numbers = score.flatten(), torch.where(among, classes + 1, 0).flatten()  # 0 for the others
    order = score.argsort(descending=True, stable=True)
    order = order[numbers[order].argsort(stable=True)]  # class by class, the surest first
    ordered = numbers[order]
    first = torch.searchsorted(ordered, ordered)
    count = torch.searchsorted(ordered, ordered, right=True) - first
    rank = torch.arange(len(ordered), device=score.device) - first
    keep = torch.empty_like(among).flatten()
    room = (share * count.double() - 1e-6).ceil()  # 0.6 of 25 are 15, not 16
    keep[order] = (rank < room) & (ordered > 0)
    return keep.view_as(among)


def thresholds(threshold: float, confidence: Tensor, classes: Tensor, among: Tensor, number: int) -> Tensor:
    """A threshold for each class, lower where the class is less sure, so that seldom sure ones do not die out.

    That of class c is `threshold * m_c / max(m)`, with m_c the mean confidence of the pixels `among` that are taken for
    it in the batch (self-adaptive thresholds of FreeMatch, Wang et al., ICLR 2023, arXiv 2205.07246, with a batch's
    means and a fixed threshold in place of moving averages).

    Args: confidence float in 0..1, classes long 0..number-1 and among bool, of one shape.

    Returns:
        float `number`, 0 to threshold; of a class that nothing is taken for 0.
    """
    kind, sure = classes[among], confidence[among].float()
    total = sure.new_zeros(number).index_add_(0, kind, sure)
    count = sure.new_zeros(number).index_add_(0, kind, torch.ones_like(sure))
    means = over_processes(total) / over_processes(count).clamp(min=FEW)
    return threshold * means / means.max().clamp(min=FEW)


def plausible(classes: Tensor, among: Tensor, largest: Tensor) -> Tensor:
    """The images in which no class takes a larger share of the pixels `among` than `largest` allows it: bool `B`.

    Args: classes long `B H W`, 0..C-1; among bool `B H W`; largest float `C`, 0 to 1.
    """
    numbers = torch.arange(len(largest), device=classes.device)
    counts = ((classes.flatten(1)[..., None] == numbers) & among.flatten(1)[..., None]).sum(1)  # B C
    return (counts <= largest * among.flatten(1).sum(1, keepdim=True)).all(1)
