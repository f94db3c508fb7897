"""Other detectors of wrong pixels, from the literature: `DETECTORS` has them by name, those of a run's table first.

A score is the wrongness that a paper defines, the higher the more likely wrong; a detector's trust is minus it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from eln_kit.evaluation import trust
from eln_kit.evaluation.measures import Ranking
from eln_kit.evaluation.predict import predict
from eln_kit.evaluation.trust import BOUND, MEAN, MEAN_PREDICTION, Case, Detector
from eln_kit.models import Networks, Segmenter, error_localizer
from eln_kit.models.features import predicted, upsample
from eln_kit.outcome.measures import risks
from eln_kit.params import Evaluation

PASSES = 8  # of MC-dropout
POWERS = range(1, 11)  # of the norm of logits, tried in turn
VARIANCE_WEIGHT = 0.25  # in CoVar; its official code has it
VIEWS = [(scale, flip) for scale in (0.75, 1.0, 1.25) for flip in (False, True)]  # of the augmented predictions


def max_softmax(logits: Tensor) -> Tensor:
    """1 - the largest class probability (Hendrycks and Gimpel, ICLR 2017): `B C H W` -> `B H W`, 0 to 1."""
    return 1 - logits.softmax(dim=1).amax(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the class probabilities, over its largest value, log C: `B C H W` -> `B H W`, 0 to 1."""
    return error_localizer.entropy(logits)[:, 0] / math.log(logits.shape[1])


def margin(logits: Tensor) -> Tensor:
    """1 - the gap between the two largest class probabilities: `B C H W` -> `B H W`, 0 to 1."""
    first, second = logits.softmax(dim=1).topk(2, dim=1).values.unbind(dim=1)
    return 1 - (first - second)


def energy(logits: Tensor) -> Tensor:
    """Free energy, -logsumexp of the logits (Liu et al., NeurIPS 2020): `B C H W` -> `B H W`, any value."""
    return -logits.logsumexp(dim=1)


def max_logit(logits: Tensor, power: int) -> Tensor:
    """Minus the largest logit after the mean over classes is taken off and the rest divided by its p-norm (MaxLogit-
    pNorm; Cattelan and Silva, UAI 2024, arXiv 2305.15508): `B C H W` -> `B H W`, -1 to 0. Power 0 is their fallback,
    the max softmax.
    """
    if not power:
        return max_softmax(logits)
    centred = logits - logits.mean(dim=1, keepdim=True)
    return -nn.functional.normalize(centred, p=power, dim=1).amax(dim=1)


def covar(logits: Tensor) -> Tensor:
    """1 - max softmax, plus the weighted variance of the other classes' probabilities (CoVar, arXiv 2601.11670, its
    linear score): `B C H W` -> `B H W`, any value.

    The variance r of the K - 1 others, who share 1 - m, counts as (K - 1)^2 / (2 (1 - m)) r.
    """
    others = logits.shape[1] - 1
    probabilities = logits.double().softmax(dim=1)
    largest = probabilities.amax(dim=1)
    squares = probabilities.square().sum(dim=1) - largest.square()
    rest = (1 - largest).clamp(min=1e-12)
    variance = (squares / others - (rest / others).square()).clamp(min=0)
    return (rest + VARIANCE_WEIGHT * others**2 / (2 * rest) * variance).float()


@dataclass
class Study(Case):
    """A case with what the other detectors look at.

    Attributes:
        networks: the run's, for the teacher and the auxiliary decoders.
        temperature: see `fit_temperature`.
        power: see `fit_power`.
        peers: segmenters like the judged one, from other seeds, for the ensemble.
    """

    networks: Networks = field(kw_only=True)
    temperature: float = 1.0
    power: int = 2
    peers: tuple[Segmenter, ...] = ()

    def given(self, probabilities: Tensor) -> Tensor:
        """Logit of the mean probability that others, float `V B C H W`, give to the judged prediction: `B H W`."""
        mean = probabilities.double().mean(dim=0).gather(1, predicted(self.logits)[:, None])[:, 0]
        return mean.logit(eps=1e-12).float()

    @cached_property
    def dropped_out(self) -> Tensor:
        """Probabilities of `PASSES` passes with dropout on, BatchNorm as in evaluation: `PASSES B C H W`."""
        features = self.segmenter.encoder(self.segmenter.normalize(self.image))
        drops = dropouts(self.segmenter)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for drop in drops:
                drop.train()
            passes = [self.segmenter.classify(self.segmenter.decoder(features)) for _ in range(PASSES)]
            for drop in drops:
                drop.eval()
        return torch.stack([self._probabilities(each) for each in passes])

    @cached_property
    def augmented(self) -> Tensor:
        """Probabilities of the flipped and scaled image, turned back: `V B C H W`."""
        size, found = self.image.shape[2:], []
        for scale, flip in VIEWS:
            view = upsample(self.image, [round(side * scale) for side in size])
            logits = self.segmenter.predict(view.flip(3) if flip else view)
            found.append(self._probabilities(logits.flip(3) if flip else logits))
        return torch.stack(found)

    def by(self, segmenters: list[Segmenter]) -> Tensor:
        """Probabilities by these segmenters, `V B C H W`."""
        return torch.stack([predict(each, self.image, Evaluation()).softmax(dim=1) for each in segmenters])

    def by_auxiliary(self) -> Tensor:
        """Probabilities by the auxiliary decoders, `K B C H W`."""
        features = self.segmenter.encoder(self.segmenter.normalize(self.image))
        return torch.stack([self._probabilities(decoder(features)) for decoder in self.networks.auxiliary])

    def _probabilities(self, logits: Tensor) -> Tensor:
        return upsample(logits.float(), self.image.shape[2:]).softmax(dim=1)


def mutual_information(probabilities: Tensor) -> Tensor:
    """Entropy of the mean less the mean entropy (Houlsby et al., 2011): `V B C H W` -> `B H W`, in nats."""
    return _nats(probabilities.mean(dim=0)) - _nats(probabilities).mean(dim=0)


def _score(score: Callable[[Any], Tensor], passes: tuple[float, ...] = (1.0,)) -> Detector:
    """A detector whose trust is minus a score of wrongness, and no probability."""
    return Detector(lambda case: -score(case), False, passes)


def _given(probabilities: Callable[[Any], Tensor], passes: tuple[float, ...] = (1.0,)) -> Detector:
    """A detector whose trust is what others give to the judged prediction."""
    return Detector(lambda case: case.given(probabilities(case)), True, passes)


SIX = tuple(scale for scale, _ in VIEWS)
DETECTORS = trust.DETECTORS | {
    "entropy": _score(lambda case: entropy(case.logits)),
    "margin": _score(lambda case: margin(case.logits)),
    "energy": _score(lambda case: energy(case.logits)),
    "temperature-scaled softmax": Detector(
        lambda case: error_localizer.confidence_logit(case.logits / case.temperature)[:, 0]
    ),
    "max logit over p-norm": _score(lambda case: max_logit(case.logits, case.power)),
    "CoVar": _score(lambda case: covar(case.logits)),
    "MC dropout, entropy": _score(lambda case: _nats(case.dropped_out.mean(dim=0)), (1.0,) * PASSES),
    "MC dropout, mutual information": _score(lambda case: mutual_information(case.dropped_out), (1.0,) * PASSES),
    "flips and scales, variance": _score(lambda case: case.augmented.var(dim=0, correction=0).sum(dim=1), SIX),
    "flips and scales, doubt": _given(lambda case: case.augmented, SIX),
    "ensemble": _given(lambda case: case.by([case.segmenter, *case.peers])),
    "student and teacher": _given(lambda case: case.by([case.networks.student, case.networks.teacher]), (1.0, 1.0)),
    "auxiliary decoders": _given(lambda case: case.by_auxiliary()),
}


def usable(networks: Networks, peers: tuple[Segmenter, ...], bound: bool = False) -> dict[str, Detector]:
    """The detectors that have something to look at: no ensemble of one, no teacher that is still the student, no
    dropout in a decoder that has none, no mean of one view. The ensemble with what it costs.
    """
    without_dropout = not dropouts(networks.student)
    lacking = {
        "MC dropout, entropy": without_dropout,
        "MC dropout, mutual information": without_dropout,
        "ensemble": not peers,
        BOUND: not bound,
        MEAN: not networks.eln.scales,
        MEAN_PREDICTION: not networks.eln.scales,
        "auxiliary decoders": not len(networks.auxiliary),
        "student and teacher": all(map(torch.equal, networks.student.parameters(), networks.teacher.parameters())),
    }
    ensemble = DETECTORS["ensemble"]._replace(passes=(1.0,) * (1 + len(peers)))
    return {name: one for name, one in (DETECTORS | {"ensemble": ensemble}).items() if not lacking.get(name)}


def dropouts(segmenter: Segmenter) -> list[nn.Module]:
    """The dropout layers of its decoder."""
    kinds = (nn.Dropout, nn.Dropout2d)
    return [module for module in segmenter.decoder.modules() if isinstance(module, kinds)]


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that labelled pixels are likeliest at (Guo et al., ICML 2017).

    Args: logits float `N C`; labels long `N`, none void.
    """

    def negative_log_likelihood(log_temperature: float) -> float:
        return nn.functional.cross_entropy(logits / math.exp(log_temperature), labels).item()

    return math.exp(minimize_scalar(negative_log_likelihood, bounds=(-3, 3), method="bounded").x)


def fit_power(logits: Tensor, labels: Tensor) -> int:
    """The power of `max_logit` whose risk-coverage curve on labelled pixels is lowest on average; 0 where none beats
    the max softmax. Args: as of `fit_temperature`.
    """
    wrong, maps = predicted(logits) != labels, logits[..., None, None]
    return min((0, *POWERS), key=lambda power: risks(Ranking(-max_logit(maps, power).flatten(), wrong)).mean())


def _nats(probabilities: Tensor) -> Tensor:
    """Entropy over classes, the dimension before height and width."""
    return torch.special.entr(probabilities).sum(dim=-3)
