"""One auxiliary decoder at each of nine ratios: how a ratio decides what the errors are like."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor

RATIOS = [round(float(ratio), 1) for ratio in np.geomspace(1, 100, 9)]


@dataclass(frozen=True)
class Point:
    """What a decoder trained at one ratio says of the held-out images: masks uint8 `H W`, and share of wrong pixels."""

    masks: list[Tensor]
    error_rate: float


def nearest(points: dict[float, Point], ratio: float) -> float | None:
    """The known ratio that is the smallest factor away; None where none is known."""
    return min(points, key=lambda known: abs(math.log(known / ratio)), default=None)


def rank_correlation(points: dict[float, Point]) -> float:
    """Spearman's, of ratio and error rate; NaN for fewer than three ratios, or where all have one rate."""
    rates = [point.error_rate for point in points.values()]
    if len(rates) < 3 or len(set(rates)) < 2:
        return float("nan")
    return float(spearmanr(list(points), rates).statistic)
