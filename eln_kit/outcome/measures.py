"""All that is measured of a detector where many are compared; a run's own table has less (`evaluation.trust`)."""

import numpy as np
from scipy import stats
from torch import Tensor

from eln_kit.evaluation.measures import Ranking, reliability, separation, with_none

COVERAGES = (50, 60, 70, 80, 90, 95)  # percent of the pixels, the most trusted ones


def risks(ranking: Ranking) -> np.ndarray:
    """The share of errors among the k most trusted pixels, k = 1 ... N: the risk-coverage curve, float64 `N`.

    Its mean is AURC; less that of `perfect_risks` it is the excess AURC (Geifman et al., "Bias-reduced uncertainty
    estimation for deep neural classifiers", ICLR 2019). With errors counted over all N pixels instead of k, the
    mean is AUGRC (Traub et al., NeurIPS 2024), the risk of an error that nobody notices.
    """
    return (ranking.caught[-1] - ranking.caught[::-1][1:]) / np.arange(1, len(ranking) + 1)


def perfect_risks(ranking: Ranking) -> np.ndarray:
    """The risk-coverage curve of whoever trusts all right pixels more than any wrong one, float64 `N`."""
    counts = np.arange(1, len(ranking) + 1)
    return np.maximum(counts - (len(ranking) - ranking.caught[-1]), 0) / counts


def measure(trust: Tensor, wrong: Tensor, is_probability: bool = False) -> dict[str, float | None]:
    """All measures of one detector, from what a `Ranking` takes; `is_probability`: the trust's sigmoid is one.

    Returns:
        `pixels`, `error_rate`, `auroc`, `aupr`, `fpr95`; `aurc`, `excess_aurc` and `augrc` (see `risks`);
        `kept_50` ... `kept_95`, the accuracy of that percentage of most trusted pixels; of a probability `ece` (see
        `reliability`) and `brier`, the mean squared error.
    """
    ranking = Ranking(trust, wrong)
    risk, ranks = risks(ranking), np.arange(1, len(wrong) + 1)
    aurc = risk.mean() if len(risk) else float("nan")
    right, probability = (~wrong).double(), trust.double().sigmoid()
    return {
        "pixels": len(wrong),
        **separation(ranking),
        **with_none(
            {
                "aurc": aurc,
                "excess_aurc": aurc - perfect_risks(ranking).mean() if len(risk) else aurc,
                "augrc": (risk * ranks / len(risk)).mean() if len(risk) else aurc,
                **{f"kept_{share}": ranking.keeping(share / 100) for share in COVERAGES},
            }
        ),
        "ece": reliability(probability, ~wrong)["ece"] if is_probability else None,
        "brier": (probability - right).square().mean().item() if is_probability else None,
    }


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
