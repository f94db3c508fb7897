"""Scores of wrongness from class logits alone, float `B C H W` -> `B H W`, 0 (sure to be right) to 1."""

import math

from torch import Tensor

from eln_kit.models import error_localizer


def max_softmax(logits: Tensor) -> Tensor:
    """1 - the largest class probability."""
    return 1 - logits.softmax(dim=1).amax(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the class probabilities, over its largest value, log C."""
    return error_localizer.entropy(logits)[:, 0] / math.log(logits.shape[1])
