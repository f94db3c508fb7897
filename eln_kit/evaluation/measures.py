"""Pixels by how far they are trusted: how well that tells wrong from right ones. Errors are the positives.

Only the order counts, but for what wants a probability. What is not defined, as without an error, is NaN in a
`Ranking` and None in what is written to a file.
"""

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_precision_recall_curve,
    binary_specificity_at_sensitivity,
)

from eln_kit.data import VOID

BINS = 15  # of the expected calibration error and the reliability diagram


class Ranking:
    """Pixels in the order in which they are dropped, the least trusted first; equal ones in any order, on average.

    Args:
        trust: how sure it is that a pixel is right, float `N`, any values.
        wrong: bool `N`.
    """

    def __init__(self, trust: Tensor, wrong: Tensor):
        self.trust, order = trust.sort(stable=True)
        self.wrong = wrong[order].long()
        _, rank, ties = self.trust.unique_consecutive(return_inverse=True, return_counts=True)
        self._doubt = 1 - rank.double() / max(1, len(ties) - 1)  # in 0..1: torchmetrics takes others for logits
        ends = ties.cumsum(0).numpy()
        errors = self.wrong.cumsum(0).numpy()[ends - 1]
        self.caught = np.interp(np.arange(len(trust) + 1), np.append(0, ends), np.append(0, errors))  # in the first n

    def __len__(self) -> int:
        return len(self.trust)

    def at(self, threshold: float) -> dict[str, float]:
        """What dropping all pixels of less trust does; see `after`."""
        return self.after(int(torch.searchsorted(self.trust, torch.tensor(threshold, dtype=self.trust.dtype))))

    def after(self, dropped: int) -> dict[str, float]:
        """What dropping that many pixels does.

        Returns:
            `kept_share`, `kept_accuracy`, and `precision` and `recall` of the dropped pixels as a list of errors.
        """
        count, caught, errors = len(self), float(self.caught[dropped]), float(self.caught[-1])
        return {
            "kept_share": _ratio(count - dropped, count),
            "kept_accuracy": 1 - _ratio(errors - caught, count - dropped),
            "precision": _ratio(caught, dropped),
            "recall": _ratio(caught, errors),
        }

    def keeping(self, share: float) -> float:
        """Accuracy of the most trusted share of the pixels; NaN where that is no pixel."""
        return self.after(len(self) - round(share * len(self)))["kept_accuracy"]

    def curve(self, points: int = 400) -> dict[str, list[float]]:
        """The values of `after`, each a list over `points` evenly spaced numbers of dropped pixels, below all."""
        places = torch.linspace(0, len(self), points + 2)[1:-1].round().long().unique().tolist()
        rows = [self.after(dropped) for dropped in places]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def precision_recall(self, points: int) -> dict[str, list[float]]:
        """`precision` and `recall` of errors at `points` evenly spaced places of the curve."""
        precision, recall, _ = binary_precision_recall_curve(self._doubt, self.wrong)
        places = torch.linspace(0, len(recall) - 1, points, dtype=torch.float64).long()
        return {"precision": precision[places].tolist(), "recall": recall[places].tolist()}

    @property
    def error_rate(self) -> float:
        return _ratio(float(self.caught[-1]), len(self))

    @property
    def has_both(self) -> bool:
        """Whether there are wrong and right pixels."""
        return 0 < self.caught[-1] < len(self)

    @property
    def auroc(self) -> float:
        return binary_auroc(self._doubt, self.wrong).item() if self.has_both else float("nan")

    @property
    def aupr(self) -> float:
        """The average precision."""
        return binary_average_precision(self._doubt, self.wrong).item() if self.has_both else float("nan")

    @property
    def fpr95(self) -> float:
        """The share of right pixels among the dropped where 95 % of the errors are dropped, over all right pixels."""
        if not self.has_both:
            return float("nan")
        return 1 - binary_specificity_at_sensitivity(self._doubt, self.wrong, 0.95)[0].item()


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def separation(ranking: Ranking) -> dict[str, float | None]:
    """`error_rate`, `auroc`, `aupr` and `fpr95`."""
    return with_none({name: getattr(ranking, name) for name in ("error_rate", "auroc", "aupr", "fpr95")})


def reliability(probability: Tensor, right: Tensor) -> dict:
    """`BINS` equal bins of the probability of being right: mean `confidence`, `accuracy` and `share` in each.

    Empty bins hold None. `ece` is the expected calibration error, the share-weighted `|accuracy - confidence|`.
    """
    bin_of = (probability * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(bin_of, minlength=BINS).double()
    confidence, accuracy = (
        torch.bincount(bin_of, weights=values.double(), minlength=BINS) / count for values in (probability, right)
    )
    share = count / count.sum()
    return {
        "confidence": [None if value != value else value for value in confidence.tolist()],
        "accuracy": [None if value != value else value for value in accuracy.tolist()],
        "share": share.tolist(),
        "ece": (share * (accuracy - confidence).abs()).nansum().item(),
    }


def interval(draws: Tensor | np.ndarray) -> tuple[float, float]:
    """The middle 95 % of what bootstrap draws gave, NaN left out."""
    low, high = np.nanquantile(np.asarray(draws), [0.025, 0.975])
    return float(low), float(high)


def draw_pixels(mask: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    """Places, in the flattened mask, of pixels that are not void."""
    usable = (mask != VOID).flatten().nonzero()[:, 0]
    return usable[torch.randperm(len(usable), generator=generator)[:at_most]]


def with_none(values: dict[str, float]) -> dict[str, float | None]:
    """The values, as JSON has them, with None for NaN."""
    return {name: None if value != value else float(value) for name, value in values.items()}
