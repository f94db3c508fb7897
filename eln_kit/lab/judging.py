"""Who trusts which pixel: ELN and plain scores on one decoder's predictions, both as they are at one moment.

How far a measure on the held-out images depends on which images these are is told by drawing them again.
"""

import copy
import math
from collections.abc import Sequence
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

DRAWS = 500
PLACES = 4000  # of a ranking at which precision is looked at; the area's error is far below an interval's width


class Judge:
    """Copies of ELN and of a decoder (None the main one), so that training beside them changes nothing."""

    def __init__(self, learner: Learner, name: str, erring: Erring | None):
        self.eln, self.eln_steps, self.name = copy.deepcopy(learner.eln).eval(), learner.steps, name
        self.erring = erring.copy() if erring else None
        made = (erring.made, len(erring.ratios)) if erring else ()
        self.key = (learner.version, *made)  # all that its judgement depends on

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
        auprs: detector -> its AUPR in each of many draws of the images, see `drawn_auprs`.
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


def drawn_auprs(trust: Sequence[Tensor], wrong: Sequence[Tensor]) -> np.ndarray:
    """AUPR of a detector's errors in `DRAWS` draws of as many images, the same draws at each call.

    Args:
        trust: of each image's pixels, float `N`.
        wrong: bool `N`.

    Returns:
        float `DRAWS`; NaN where no drawn image has an error.
    """
    image = torch.arange(len(trust)).repeat_interleave(torch.tensor([len(each) for each in trust]))
    pooled, order = torch.cat([*trust]).sort()
    ends = torch.cat([pooled.diff() > 0, torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]  # equal trust, one place
    ends = ends[torch.linspace(0, len(ends) - 1, min(PLACES, len(ends))).round().long()]
    mine = torch.nn.functional.one_hot(image[order], len(trust))
    among = mine.cumsum(0)[ends].double().numpy()  # PLACES images: pixels among the least trusted
    caught = (mine * torch.cat([*wrong])[order, None]).cumsum(0)[ends].double().numpy()
    draws = np.random.default_rng(0).multinomial(len(trust), np.full(len(trust), 1 / len(trust)), DRAWS)
    caught, among = draws @ caught.T, draws @ among.T
    with np.errstate(invalid="ignore"):
        precision = caught / np.maximum(among, 1)
        return (np.diff(caught, prepend=0) * precision).sum(1) / caught[:, -1]
