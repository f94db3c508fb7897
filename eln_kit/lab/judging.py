"""Who trusts which pixel: ELN and plain scores on one decoder's predictions, both as they are at one moment."""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from eln_kit.evaluation.measures import Ranking
from eln_kit.lab.erring import Erring
from eln_kit.lab.frozen import Held
from eln_kit.lab.learner import Learner
from eln_kit.models.error_localizer import confidence_logit, entropy
from eln_kit.models.features import predicted, upsample


class Judge:
    """Copies of ELN and of a decoder (None the main one), so that training beside them changes nothing."""

    def __init__(self, learner: Learner, name: str, erring: Erring | None):
        self.eln, self.eln_steps, self.name = copy.deepcopy(learner.eln).eval(), learner.steps, name
        self.erring = erring.copy() if erring else None
        made = (erring.noise, erring.dropout, len(erring.ratios)) if erring else ()
        self.key = (learner.version, name, *made)  # all that its judgement depends on

    @torch.no_grad()
    def __call__(self, image: Held) -> tuple[Tensor, dict[str, Tensor]]:
        """The prediction, and who trusts which pixel of it; all `H W` on the CPU."""
        size = image.truth.shape
        logits = self.erring.logits(image) if self.erring else image.prediction.logits
        judged = self.eln(image.seen, upsample(logits, image.seen.shape[2:]), image.looks)
        logits = upsample(logits, size)
        trust = {
            "ELN": upsample(judged, size)[:, 0].sigmoid(),
            "1 - max softmax": confidence_logit(logits)[:, 0].sigmoid(),
            "entropy": 1 - entropy(logits)[:, 0] / math.log(logits.shape[1]),
        }
        return predicted(logits)[0].cpu(), {name: each[0].cpu() for name, each in trust.items()}


@dataclass(frozen=True)
class Measured:
    """Detectors on pixels of all held-out images, at most `evaluation.pixels` of each.

    Attributes:
        rankings: detector -> the order in which it drops them.
        auprs: detector -> its AUPR in each of many draws of the images, see `bootstrap.drawn_auprs`.
    """

    rankings: dict[str, Ranking] = field(default_factory=dict)
    auprs: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """Who trusts which pixel of one prediction of one held-out image.

    Attributes:
        place: of the image.
        judge: whose name is the prediction's.
        prediction: `H W`.
        trust: detector -> probability of being right, `H W`.
        here: ELN's ranking of the image's pixels that are not void.
        everywhere: on all held-out images; empty before it is measured.
    """

    place: int
    judge: Judge
    prediction: Tensor
    trust: dict[str, Tensor]
    here: Ranking
    everywhere: Measured = Measured()
