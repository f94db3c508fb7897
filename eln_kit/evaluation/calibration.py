"""ELN's score as a probability: a line through its logits, fitted on images that were held out of training."""

from functools import partial

import numpy as np
import torch
from scipy.optimize import minimize

from eln_kit.data import DataSet, Item
from eln_kit.evaluation.trust import DETECTORS, Case, sampled
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.features import evaluating
from eln_kit.params import Params

PIXELS = 5000  # drawn of each image
STEEPEST = 20.0  # slope, and 1 over the flattest one


def calibrate(eln: ErrorLocalizer, segmenter: Segmenter, items: list[Item], dataset: DataSet, params: Params) -> None:
    """Set ELN's `slope` and `offset` by how often the segmenter is right in these images, which have masks."""
    eln.slope.fill_(1)
    eln.offset.fill_(0)
    only = {"ELN": DETECTORS["ELN"]}
    with evaluating(segmenter):
        samples = sampled(partial(Case, segmenter=segmenter, eln=eln), segmenter, only, items, PIXELS, dataset, params)
        judged, right = torch.cat([sample["ELN"] for sample, *_ in samples], dim=1).double().numpy()
    slope, offset = fit_line(judged, right > 0)
    eln.slope.fill_(slope)
    eln.offset.fill_(offset)


def fit_line(logits: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Slope, above 0, and offset of the logits at which the outcomes are likeliest (Platt, 1999, with his targets,
    which stay inside 0..1 where there is no error).

    Args: logits float `N`; right bool `N`.
    """
    many, few = right.sum(), (~right).sum()
    target = np.where(right, (many + 1) / (many + 2), 1 / (few + 2))

    def negative_log_likelihood(line: np.ndarray) -> float:
        moved = np.exp(line[0]) * logits + line[1]
        return float(np.mean(np.logaddexp(0, moved) - target * moved))

    widest = np.log(STEEPEST)
    fitted = minimize(negative_log_likelihood, (0.0, 0.0), method="L-BFGS-B", bounds=[(-widest, widest), (None, None)])
    return float(np.exp(fitted.x[0])), float(fitted.x[1])
