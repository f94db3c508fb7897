"""What wrong pixels are like. Masks are `H W`; 255 is void."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from eln_kit.data import VOID


def wrong_pixels(prediction: Tensor, truth: Tensor) -> Tensor:
    """Where a prediction is wrong, bool; void pixels of the truth are not."""
    return (prediction != truth) & (truth != VOID)


def boundary_distance(mask: Tensor) -> Tensor:
    """Chessboard distance to the nearest pixel of another class, long `H W`, 1 beside it; void is no class.

    In a mask of one class it is the longer side, as no boundary is in sight.
    """
    labels = mask.cpu().numpy().astype(np.int16)
    nearest = np.full(labels.shape, max(labels.shape))
    for label in np.unique(labels[labels != VOID]):
        inside = labels == label
        if not (inside | (labels == VOID)).all():
            distance = distance_transform_cdt(inside | (labels == VOID), "chessboard")
            nearest[inside] = distance[inside]
    return torch.from_numpy(nearest)


def overlap(one: Tensor, other: Tensor) -> float:
    """Intersection over union of two sets of wrong pixels, bool of one shape: 1 the same errors, 0 none in common."""
    union = (one | other).sum().item()
    return (one & other).sum().item() / union if union else float("nan")


def taken_for(prediction: Tensor, truth: Tensor, classes: list[str]) -> list[tuple[str, str, float]]:
    """Every confusion that occurs, the most frequent first: true class, predicted class, share of the errors."""
    wrong = wrong_pixels(prediction, truth)
    pairs = truth[wrong].long() * len(classes) + prediction[wrong].long()
    counts = torch.bincount(pairs, minlength=len(classes) ** 2)
    order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())].tolist()
    total = max(len(pairs), 1)
    return [
        (classes[pair // len(classes)], classes[pair % len(classes)], counts[pair].item() / total) for pair in order
    ]
