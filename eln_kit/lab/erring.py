"""One auxiliary decoder, trained on frozen features to err by a ratio of its own; and what one at each ratio says."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from eln_kit.lab.frozen import Crops, Held
from eln_kit.lab.settings import Settings
from eln_kit.method.losses import auxiliary_loss, cross_entropy
from eln_kit.models.features import predicted, upsample
from eln_kit.models.segmenter import AuxiliaryDecoder
from eln_kit.params import Params

BATCH = 4
LR = 2e-3  # a run's own may be too small for a few seconds
RATIOS = [round(float(ratio), 1) for ratio in np.geomspace(1, 100, 9)]  # of a sweep


class Erring:
    """An auxiliary decoder and its training so far.

    Attributes:
        made: all that it depends on: number, ratio, noise and dropout.
        ratios: its loss over the main one's at each step so far; it learns only while that is above its ratio.
        predictions: place of a held-out image -> its mask, uint8 `H W`; what `predict` has made since the last step.
    """

    def __init__(self, crops: Crops, params: Params, number: int, ratio: float, settings: Settings):
        channels, classes = tuple(map.shape[1] for map in crops.features), crops.logits.shape[1]
        self.crops, self.number, self.ratio = crops, number, ratio
        self.made = number, ratio, settings.noise, settings.dropout
        with torch.random.fork_rng():
            torch.manual_seed(number)
            decoder = AuxiliaryDecoder(channels, params.model, classes, settings.noise, settings.dropout)
        self.decoder = decoder.to(crops.mask.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(self.decoder.parameters(), lr=LR)
        self.ratios: list[float] = []
        self.predictions: dict[int, Tensor] = {}

    def step(self) -> None:
        """One step on some of the crops; no step of the optimizer while the loss is under its ratio."""
        self.decoder.train()
        self.predictions = {}
        with torch.random.fork_rng():
            torch.manual_seed(1000 * len(self.ratios) + self.number)
            part = self.crops[torch.randperm(len(self.crops))[:BATCH]]
            loss = cross_entropy(self.decoder(part.features), part.mask, weights=part.weights)
        main = cross_entropy(part.logits, part.mask, weights=part.weights)
        self.ratios.append((loss / main).item())
        gated = auxiliary_loss([loss], main, [self.ratio])
        if gated > 0:
            self.optimizer.zero_grad()
            gated.backward()
            self.optimizer.step()

    @torch.no_grad()
    def logits(self, image: Held) -> Tensor:
        """Class logits of a held-out image, float `1 C h w`; the same noise at each call."""
        self.decoder.eval()
        with torch.random.fork_rng():
            torch.manual_seed(self.number)
            return self.decoder(image.prediction.features)

    def predict(self, place: int, image: Held) -> Tensor:
        """The mask of the held-out image at a place, as the decoder is now."""
        if place not in self.predictions:
            self.predictions[place] = classes_at(self.logits(image), image.truth.shape)
        return self.predictions[place]

    def copy(self) -> "Erring":
        """One whose decoder learns no more."""
        other = copy.copy(self)
        other.decoder = copy.deepcopy(self.decoder)
        return other

    @torch.no_grad()
    def on_crops(self) -> Tensor:
        """Class logits of all crops, float `N C h w`, in evaluation mode."""
        self.decoder.eval()
        with torch.random.fork_rng():
            torch.manual_seed(self.number)
            places = torch.arange(len(self.crops)).split(BATCH)
            return torch.cat([self.decoder(self.crops[place].features) for place in places])


def classes_at(logits: Tensor, size: torch.Size) -> Tensor:
    """The classes of `1 C h w` at another size, uint8 `H W` on the CPU."""
    return predicted(upsample(logits, size))[0].to(torch.uint8).cpu()


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
