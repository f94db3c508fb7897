"""What wrong pixels are like, and what dropping the least trusted ones does. Masks are `H W`; 255 is void."""

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision

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


class Ranking:
    """Pixels in the order in which they are dropped, the least trusted first.

    Args:
        trust: how sure a pixel is to be right, float `N` in 0..1.
        wrong: bool `N`.
    """

    def __init__(self, trust: Tensor, wrong: Tensor):
        order = trust.argsort(stable=True)
        self.trust = trust[order].contiguous()
        self.caught = torch.cat([torch.zeros(1), wrong[order].cumsum(0)]).double()  # N + 1: errors among the first n

    def at(self, threshold: float) -> dict[str, float]:
        """What dropping all pixels of less trust does; see `after`."""
        return self.after(int(torch.searchsorted(self.trust, torch.tensor(threshold, dtype=self.trust.dtype))))

    def after(self, dropped: int) -> dict[str, float]:
        """What dropping that many pixels does, NaN where there is nothing to divide by.

        Returns:
            `kept_share`, `kept_accuracy`, and `precision` and `recall` of the dropped pixels as a list of errors.
        """
        count, caught, errors = len(self.trust), self.caught[dropped].item(), self.caught[-1].item()
        return {
            "kept_share": _ratio(count - dropped, count),
            "kept_accuracy": 1 - _ratio(errors - caught, count - dropped),
            "precision": _ratio(caught, dropped),
            "recall": _ratio(caught, errors),
        }

    @property
    def aupr(self) -> float:
        """Area under precision over recall of errors; NaN without an error."""
        wrong = self.caught.diff().long()
        return binary_average_precision(1 - self.trust, wrong).item() if wrong.any() else float("nan")

    def curve(self, points: int = 400) -> dict[str, list[float]]:
        """The values of `after`, each a list over `points` evenly spaced numbers of dropped pixels, below all."""
        places = torch.linspace(0, len(self.trust), points + 2)[1:-1].round().long().unique().tolist()
        rows = [self.after(place) for place in places]
        return {name: [row[name] for row in rows] for name in rows[0]}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
