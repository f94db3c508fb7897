"""Who tells wrong pixels from right ones: scores of wrongness behind one interface.

A detector takes a `Case`, one image and the prediction that is judged, and gives float `H W` at the image's size: the
higher, the more likely wrong. All judge the same prediction. `DETECTORS` has them by name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from eln_kit.evaluation import trust
from eln_kit.evaluation.measures import risks
from eln_kit.evaluation.predict import mean_of_views, predict
from eln_kit.evaluation.trust import BOUND, MEAN, MEAN_PREDICTION
from eln_kit.models import ErrorLocalizer, Networks, Segmenter, error_localizer
from eln_kit.models.features import predicted, upsample
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
class Case:
    """What a detector may look at; passes that several detectors share are made once.

    Attributes:
        image: float `1 3 H W` in 0..1.
        logits: of the judged prediction, float `1 C H W`.
        segmenter: who predicted it.
        networks: the run's, for the teacher, the auxiliary decoders and ELN.
        temperature: see `fit_temperature`.
        power: see `fit_power`.
        peers: segmenters like the judged one, from other seeds, for the ensemble.
        bound: an ELN that was taught the truth of the unlabelled images.
    """

    image: Tensor
    logits: Tensor
    segmenter: Segmenter
    networks: Networks
    temperature: float = 1.0
    power: int = 2
    peers: tuple[Segmenter, ...] = ()
    bound: ErrorLocalizer | None = None

    def doubt(self, probabilities: Tensor) -> Tensor:
        """1 - the mean probability that others, float `V C H W`, give to the judged prediction: `H W`, 0 to 1."""
        return 1 - probabilities.mean(dim=0).gather(0, predicted(self.logits))[0]

    @cached_property
    def dropped_out(self) -> Tensor:
        """Probabilities of `PASSES` passes with dropout on, BatchNorm as in evaluation; `PASSES C H W`."""
        features = self.segmenter.encoder(self.segmenter.normalize(self.image))
        drops = dropouts(self.segmenter)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for drop in drops:
                drop.train()
            passes = [self.segmenter.classify(self.segmenter.decoder(features)) for _ in range(PASSES)]
            for drop in drops:
                drop.eval()
        return torch.cat([self._probabilities(each) for each in passes])

    @cached_property
    def augmented(self) -> Tensor:
        """Probabilities of the flipped and scaled image, turned back; `V C H W`."""
        size, found = self.image.shape[2:], []
        for scale, flip in VIEWS:
            view = upsample(self.image, [round(side * scale) for side in size])
            logits = self.segmenter.predict(view.flip(3) if flip else view)
            found.append(self._probabilities(logits.flip(3) if flip else logits))
        return torch.cat(found)

    @cached_property
    def mean_of_views(self) -> tuple[Tensor, Tensor]:
        """See `predict.mean_of_views`."""
        return mean_of_views(self.segmenter, self.image, self.logits, self.networks.eln.scales, Evaluation())

    def others(self, segmenters: list[Segmenter]) -> Tensor:
        """Probabilities by other segmenters, `V C H W`."""
        return torch.cat([predict(each, self.image, Evaluation()).softmax(dim=1) for each in segmenters])

    def auxiliary(self) -> Tensor:
        """Probabilities by the auxiliary decoders, `K C H W`."""
        features = self.segmenter.encoder(self.segmenter.normalize(self.image))
        return torch.cat([self._probabilities(decoder(features)) for decoder in self.networks.auxiliary])

    def _probabilities(self, logits: Tensor) -> Tensor:
        return upsample(logits.float(), self.image.shape[2:]).softmax(dim=1)


class Detector(NamedTuple):
    """A score and what is to be known of it.

    Args:
        is_probability: of being wrong.
        passes: the scale of the image in each of its passes through a network, or through a decoder alone.
        predicts: logits of the prediction that it judges, float `1 C H W`, where that is another one.
    """

    score: Callable[[Case], Tensor]
    is_probability: bool = False
    passes: tuple[float, ...] = (1.0,)
    predicts: Callable[[Case], Tensor] | None = None

    @property
    def cost(self) -> dict:
        """`passes`, and the `pixels` in them over the image's."""
        return {"passes": len(self.passes), "pixels": sum(scale**2 for scale in self.passes)}


def mutual_information(probabilities: Tensor) -> Tensor:
    """Entropy of the mean less the mean entropy (Houlsby et al., 2011): `V C H W` -> `H W`, in nats."""
    return _nats(probabilities.mean(dim=0, keepdim=True))[0] - _nats(probabilities).mean(dim=0)


DETECTORS = {
    "ELN": Detector(lambda case: _wrong(case.networks.eln, case), is_probability=True),
    BOUND: Detector(lambda case: _wrong(case.bound, case), is_probability=True),
    "1 - max softmax": Detector(lambda case: max_softmax(case.logits)[0], is_probability=True),
    "entropy": Detector(lambda case: entropy(case.logits)[0]),
    "margin": Detector(lambda case: margin(case.logits)[0]),
    "energy": Detector(lambda case: energy(case.logits)[0]),
    "temperature-scaled softmax": Detector(
        lambda case: max_softmax(case.logits / case.temperature)[0], is_probability=True
    ),
    "max logit over p-norm": Detector(lambda case: max_logit(case.logits, case.power)[0]),
    "CoVar": Detector(lambda case: covar(case.logits)[0]),
    MEAN: Detector(lambda case: 1 - case.mean_of_views[0][0, 0].sigmoid(), is_probability=True),
    MEAN_PREDICTION: Detector(
        lambda case: max_softmax(case.mean_of_views[1])[0], True, predicts=lambda case: case.mean_of_views[1]
    ),
    "MC dropout, entropy": Detector(
        lambda case: _nats(case.dropped_out.mean(dim=0, keepdim=True))[0], passes=(1.0,) * PASSES
    ),
    "MC dropout, mutual information": Detector(
        lambda case: mutual_information(case.dropped_out), passes=(1.0,) * PASSES
    ),
    "flips and scales, variance": Detector(
        lambda case: case.augmented.var(dim=0, correction=0).sum(dim=0), passes=tuple(scale for scale, _ in VIEWS)
    ),
    "flips and scales, doubt": Detector(
        lambda case: case.doubt(case.augmented), True, passes=tuple(scale for scale, _ in VIEWS)
    ),
    "ensemble": Detector(lambda case: case.doubt(case.others([case.segmenter, *case.peers])), is_probability=True),
    "student and teacher": Detector(
        lambda case: case.doubt(case.others([case.networks.student, case.networks.teacher])), True, passes=(1.0, 1.0)
    ),
    "auxiliary decoders": Detector(lambda case: case.doubt(case.auxiliary()), is_probability=True),
}


def usable(networks: Networks, peers: tuple[Segmenter, ...], bound: bool = False) -> dict[str, Detector]:
    """The detectors that have something to look at: no ensemble of one, no teacher that is still the student, no
    dropout in a decoder that has none, no mean of one view. With what they cost in these networks.
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
    found = {name: detector for name, detector in DETECTORS.items() if not lacking.get(name)}
    passes = {name: trust.passes(name, networks.eln) for name in ("ELN", BOUND, MEAN, MEAN_PREDICTION)}
    passes["ensemble"] = (1.0,) * (1 + len(peers))
    return {name: one._replace(passes=passes.get(name, one.passes)) for name, one in found.items()}


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
    return min((0, *POWERS), key=lambda power: risks(max_logit(maps, power).flatten(), wrong).mean().item())


def _wrong(eln: ErrorLocalizer | None, case: Case) -> Tensor:
    """ELN's probability of being wrong, `H W`."""
    assert eln is not None
    return (-eln.judge_prediction(case.segmenter, case.image, case.logits)[0, 0]).sigmoid()


def _nats(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(dim=1)
