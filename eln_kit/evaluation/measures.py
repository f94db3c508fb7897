"""How well a score of wrongness tells wrong pixels from right ones. Errors are the positives.

`score` is float `N`, higher where a pixel is more likely wrong, `wrong` bool `N`. Only the order of the scores counts,
but for `ece` and `brier`, which want a probability. What is not defined, as without an error, is None.
"""

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    binary_calibration_error,
    binary_specificity_at_sensitivity,
)

from eln_kit.data import VOID

COVERAGES = (50, 60, 70, 80, 90, 95)  # percent of the pixels, the most trusted ones
BINS = 15  # of the expected calibration error and the reliability diagram


def measure(score: Tensor, wrong: Tensor, is_probability: bool = False) -> dict[str, float | None]:
    """All measures of one detector.

    Returns:
        `auroc`; `aupr`, the average precision; `fpr95`, the share of right pixels among the dropped where 95 % of the
        errors are dropped, over all right pixels; `aurc`, `excess_aurc` and `augrc` (see `risks`); `kept_50` ...
        `kept_95`, the accuracy of that percentage of most trusted pixels; of a probability `ece` (15 equal bins) and
        `brier`, the mean squared error; `error_rate` and `pixels`.
    """
    target, curve = wrong.long(), risks(score, wrong)
    return {
        "pixels": len(wrong),
        **separation(score, wrong),
        "aurc": curve.mean().item() if len(curve) else None,
        "excess_aurc": (curve.mean() - perfect_risks(wrong).mean()).item() if len(curve) else None,
        "augrc": (curve * torch.arange(1, len(curve) + 1) / len(curve)).mean().item() if len(curve) else None,
        **{f"kept_{share}": kept_accuracy(curve, share / 100) for share in COVERAGES},
        "ece": binary_calibration_error(score, target, BINS).item() if is_probability else None,
        "brier": (score.double() - target).square().mean().item() if is_probability else None,
    }


def separation(score: Tensor, wrong: Tensor) -> dict[str, float | None]:
    """`error_rate`, `auroc`, `aupr` and `fpr95` alone, which `measure` describes."""
    both = bool(wrong.any() and not wrong.all())
    target, place = wrong.long(), _ranks(score)
    return {
        "error_rate": wrong.double().mean().item() if len(wrong) else None,
        "auroc": binary_auroc(place, target).item() if both else None,
        "aupr": binary_average_precision(place, target).item() if both else None,
        "fpr95": 1 - binary_specificity_at_sensitivity(place, target, 0.95)[0].item() if both else None,
    }


def risks(score: Tensor, wrong: Tensor) -> Tensor:
    """The share of errors among the k most trusted pixels, for k = 1 ... N: the risk-coverage curve, float64 `N`.

    Pixels of equal score come in random order, on average. The curve's mean is AURC; less that of `perfect_risks` it
    is the excess AURC (Geifman et al., "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019).
    With errors counted over all N pixels instead of k, the mean is AUGRC (Traub et al., NeurIPS 2024), the risk of an
    error that nobody notices.
    """
    order = score.argsort()
    _, ties = score[order].unique_consecutive(return_counts=True)
    last = ties.cumsum(0).numpy()
    errors = wrong[order].double().cumsum(0).numpy()
    counts = np.arange(1, len(wrong) + 1)
    expected = np.interp(counts, np.append(0, last), np.append(0, errors[last - 1]))
    return torch.from_numpy(expected / counts)


def perfect_risks(wrong: Tensor) -> Tensor:
    """The risk-coverage curve of a detector that trusts all right pixels more than any wrong one, float64 `N`."""
    counts = torch.arange(1, len(wrong) + 1, dtype=torch.float64)
    return (counts - (~wrong).sum()).clamp(min=0) / counts


def kept_accuracy(curve: Tensor, coverage: float) -> float | None:
    """Accuracy of the share `coverage` of most trusted pixels, from `risks`; None where that is no pixel."""
    kept = round(coverage * len(curve))
    return 1 - curve[kept - 1].item() if kept else None


def mean_over_images(values: list[float | None], seed: int = 0) -> dict[str, float | int | None]:
    """The mean of a measure over the images where it is defined, and the 95 % percentile bootstrap interval of it.

    Returns: `mean`, `low`, `high` and `images`; None where there are too few images.
    """
    known = [value for value in values if value is not None]
    low = high = None
    if len(known) > 1:
        low, high = stats.bootstrap(
            (known,), np.mean, n_resamples=2000, method="percentile", rng=seed
        ).confidence_interval
        low, high = float(low), float(high)
    return {"mean": float(np.mean(known)) if known else None, "low": low, "high": high, "images": len(known)}


def interval(draws: Tensor | np.ndarray) -> tuple[float, float]:
    """The middle 95 % of what bootstrap draws gave, NaN left out."""
    low, high = np.nanquantile(np.asarray(draws), [0.025, 0.975])
    return float(low), float(high)


def _ranks(score: Tensor) -> Tensor:
    """Scores in their order, spread over 0..1, equal ones equal: torchmetrics takes others for logits."""
    values, place = score.unique(return_inverse=True)
    return place.double() / max(1, len(values) - 1)


def draw_pixels(mask: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    """Places, in the flattened mask, of pixels that are not void."""
    usable = (mask != VOID).flatten().nonzero()[:, 0]
    return usable[torch.randperm(len(usable), generator=generator)[:at_most]]


def reliability(probability: Tensor, right: Tensor) -> dict:
    """`BINS` equal bins of the probability of being right: mean `confidence`, `accuracy` and `share` in each.

    Empty bins hold None. `ece` is the expected calibration error, the share-weighted `|accuracy - confidence|`.
    """
    place = (probability * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(place, minlength=BINS).double()
    confidence, accuracy = (
        torch.bincount(place, weights=values.double(), minlength=BINS) / count for values in (probability, right)
    )
    share = count / count.sum()
    return {
        "confidence": _with_none(confidence),
        "accuracy": _with_none(accuracy),
        "share": share.tolist(),
        "ece": (share * (accuracy - confidence).abs()).nansum().item(),
    }


def _with_none(values: Tensor) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
