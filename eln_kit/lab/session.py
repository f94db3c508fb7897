"""What the error lab knows and does, without a widget: errors are made, found, and learnt from.

Work that takes long is a generator of the share done, so that whoever drives it can show it and stop it.
"""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from eln_kit import detectors
from eln_kit.data import VOID
from eln_kit.errors import Ranking, near_boundary, overlap, taken_for, wrong_pixels
from eln_kit.experiment import Experiment
from eln_kit.lab import frozen
from eln_kit.lab.erring import BATCH, Erring, classes_at
from eln_kit.losses import correctness, error_localization_loss
from eln_kit.models import Networks
from eln_kit.models.features import upsample
from eln_kit.params import Params, ParamsError
from eln_kit.params_file import build, save
from eln_kit.paths import project_root
from eln_kit.stages import STAGES

BOUNDARY = 3  # pixels from another class that count as next to a boundary
SWEEP = [round(float(ratio), 1) for ratio in np.geomspace(1, 100, 9)]
MAIN = "main decoder"


@dataclass(frozen=True)
class Settings:
    """How errors are made: one auxiliary decoder a ratio, each trained for `steps` on frozen features."""

    ratios: tuple[float, ...]
    steps: int = 40
    noise: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True)
class Judged:
    """Who trusts which pixel of one prediction of one image: detector -> probability of being right, `H W`.

    `ranking` is ELN's over the image's pixels that are not void.
    """

    prediction: Tensor
    trust: dict[str, Tensor]
    ranking: Ranking


class Session:
    """A run's segmenter after some stage, frozen; auxiliary decoders made here; and a copy of its ELN."""

    def __init__(self, experiment: Experiment, stage: str, networks: Networks):
        self.experiment, self.stage = experiment, stage
        self.segmenter = networks.segmenter(STAGES[stage].measured)
        self.eln = copy.deepcopy(networks.eln)
        self.eln_steps = 0  # trained here
        self.optimizer = torch.optim.AdamW(self.eln.parameters(), lr=experiment.params.optimizer.lr)
        self.crops = frozen.crops(self.segmenter, experiment)
        self.held = frozen.held(self.segmenter, experiment)
        self.main = [classes_at(each.prediction.logits, each.truth.shape) for each in self.held]
        self.erring: list[Erring] = []
        self._rankings: dict[tuple, dict[str, Ranking]] = {}  # by what they depend on

    @property
    def params(self) -> Params:
        return self.experiment.params

    @property
    def names(self) -> list[str]:
        """Of the predictions: the main decoder's, then the auxiliary ones'."""
        return [MAIN, *(f"auxiliary {each.number}, ratio {each.ratio:g}" for each in self.erring)]

    def make_errors(self, settings: Settings) -> Iterator[float]:
        """Train the auxiliary decoders of these settings as far as they lack steps, and let them predict."""
        self.erring = [self._decoder(number, ratio, settings) for number, ratio in enumerate(settings.ratios, 1)]
        images = len(self.held)
        parts = [settings.steps - len(e.ratios) + (images - len(e.predictions)) / 4 for e in self.erring]
        total, done = max(sum(parts), 1), 0.0
        while unfinished := [each for each in self.erring if len(each.ratios) < settings.steps]:
            for each in unfinished:
                each.step()
                done += 1
                yield min(done / total, 1)
        for each in self.erring:
            while len(each.predictions) < images:
                each.predict(self.held[len(each.predictions)])
                done += 0.25
                yield min(done / total, 1)

    def _decoder(self, number: int, ratio: float, settings: Settings) -> Erring:
        """The one at this place where it is of these settings and not trained too far, else a new one."""
        wanted = (number, ratio, settings.noise, settings.dropout)
        for old in self.erring:
            if (old.number, old.ratio, old.noise, old.dropout) == wanted and len(old.ratios) <= settings.steps:
                return old
        channels, classes = self.segmenter.encoder.channels, len(self.experiment.dataset.classes)
        return Erring(self.crops, self.params, channels, classes, *wanted)

    def predictions(self, place: int) -> list[Tensor]:
        """Of a held-out image: the main decoder's mask, then each auxiliary one's, uint8 `H W`."""
        return [self.main[place], *(each.predictions[place] for each in self.erring)]

    def ratio_records(self) -> list[dict]:
        """Each auxiliary loss over the main one's by step, as `figures.ratio_curves` takes it."""
        steps = max((len(each.ratios) for each in self.erring), default=0)
        return [
            {"step": s + 1, **{f"ratio/{e.number}": e.ratios[s] for e in self.erring if s < len(e.ratios)}}
            for s in range(steps)
        ]

    def describe_errors(self) -> list[dict]:
        """What the errors of each prediction on the held-out images are like.

        Returns:
            For each: `name`, `error_rate`, `near_boundary` (share of the errors within `BOUNDARY` pixels of one),
            `overlap` (name -> intersection over union of the errors with that prediction's), `taken_for` (see there).
        """
        truth = torch.cat([each.truth.flatten() for each in self.held])
        edge = torch.cat([near_boundary(each.truth, BOUNDARY).flatten() for each in self.held])
        flat = [torch.cat([masks.flatten() for masks in each]) for each in (self.main, *self._masks())]
        wrong = [wrong_pixels(each, truth) for each in flat]
        known = (truth != VOID).sum().item()
        return [
            {
                "name": name,
                "error_rate": errors.sum().item() / max(known, 1),
                "near_boundary": (errors & edge).sum().item() / max(errors.sum().item(), 1),
                "overlap": {n: overlap(errors, w) for n, w in zip(self.names, wrong, strict=True) if w is not errors},
                "taken_for": taken_for(mask, truth, self.experiment.dataset.classes),
            }
            for name, mask, errors in zip(self.names, flat, wrong, strict=True)
        ]

    def _masks(self) -> list[list[Tensor]]:
        return [each.predictions for each in self.erring]

    def sweep(self, settings: Settings) -> Iterator[tuple[float, dict[float, float]]]:
        """Train one decoder at each ratio of `SWEEP`.

        Yields: the share done, and ratio -> error rate on the held-out images, as far as known.
        """
        rates = {}
        for place, ratio in enumerate(SWEEP):
            decoder = self._decoder(1, ratio, settings)
            while len(decoder.ratios) < settings.steps:
                decoder.step()
                yield (place + len(decoder.ratios) / settings.steps) / len(SWEEP), rates
            while len(decoder.predictions) < len(self.held):
                decoder.predict(self.held[len(decoder.predictions)])
            rates = {**rates, ratio: self._error_rate(decoder.predictions)}
            yield (place + 1) / len(SWEEP), rates

    def _error_rate(self, masks: list[Tensor]) -> float:
        wrong = sum(wrong_pixels(mask, each.truth).sum().item() for mask, each in zip(masks, self.held, strict=True))
        return wrong / max(sum((each.truth != VOID).sum().item() for each in self.held), 1)

    @property
    def main_error_rate(self) -> float:
        return self._error_rate(self.main)

    @torch.no_grad()
    def judge(self, place: int, which: int) -> Judged:
        """ELN's and the plain scores' trust in prediction `which` (0 the main decoder's) of a held-out image."""
        image, size = self.held[place], self.held[place].truth.shape
        logits = image.prediction.logits if which == 0 else self.erring[which - 1].logits(image)
        judged = self.eln.eval()(image.seen, upsample(logits, image.seen.shape[2:]))
        logits = upsample(logits, size)
        trust = {
            "ELN": upsample(judged, size)[:, 0].sigmoid(),
            "1 - max softmax": 1 - detectors.max_softmax(logits),
            "entropy": 1 - detectors.entropy(logits),
        }
        trust = {name: each[0].float().cpu() for name, each in trust.items()}
        prediction, known = logits.argmax(dim=1)[0].cpu(), image.truth != VOID
        return Judged(prediction, trust, Ranking(trust["ELN"][known], wrong_pixels(prediction, image.truth)[known]))

    def rank(self, which: int) -> Iterator[float]:
        """Judge a prediction of all held-out images, which `rankings` needs; nothing where that is known."""
        if self._key(which) in self._rankings:
            return
        samples, generator = [], torch.Generator().manual_seed(0)
        for place, image in enumerate(self.held):
            judged = self.judge(place, which)
            known = (image.truth != VOID).flatten().nonzero()[:, 0]
            drawn = known[torch.randperm(len(known), generator=generator)[: self.params.evaluation.pixels]]
            wrong = wrong_pixels(judged.prediction, image.truth).flatten()[drawn]
            samples.append({"wrong": wrong, **{n: each.flatten()[drawn] for n, each in judged.trust.items()}})
            yield (place + 1) / len(self.held)
        pooled = {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}
        wrong = pooled.pop("wrong")
        self._rankings[self._key(which)] = {name: Ranking(trust, wrong) for name, trust in pooled.items()}

    def rankings(self, which: int) -> dict[str, Ranking]:
        """Of each detector over pixels of all held-out images, at most `evaluation.pixels` of each; after `rank`."""
        return self._rankings[self._key(which)]

    def _key(self, which: int) -> tuple:
        if which == 0:
            return (0, self.eln_steps)
        of = self.erring[which - 1]
        return (which, self.eln_steps, of.ratio, of.noise, of.dropout, len(of.ratios))

    def train_eln(self, steps: int) -> Iterator[float]:
        """Train this session's copy of ELN on the predictions of now for the labelled crops, as stage 2 does."""
        every = torch.stack([self.crops.logits, *(each.on_crops() for each in self.erring)])  # K+1 N C h w
        yield 0.0
        for step in range(1, steps + 1):
            generator = torch.Generator().manual_seed(self.eln_steps)
            places = torch.randperm(len(self.crops), generator=generator)[:BATCH]
            with torch.random.fork_rng():
                torch.manual_seed(self.eln_steps)
                self._eln_step(every[:, places].flatten(0, 1), self.crops[places], len(every))
            self.eln_steps += 1
            yield step / steps

    def _eln_step(self, logits: Tensor, part: frozen.Crops, count: int) -> None:
        judged = self.eln.train()(part.image.repeat(count, 1, 1, 1), logits)
        target = correctness(logits, part.mask.repeat(count, 1, 1))
        bound = self.params.error_localization.max_weight
        pairs = zip(judged.chunk(count), target.chunk(count), strict=True)
        loss = sum(error_localization_loss(j, t, bound) for j, t in pairs)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def write_params(self, settings: Settings, threshold: float, name: str = "my_lab") -> Path:
        """Write a params file of these settings beside the others, for `eln-kit run`; none is ever overwritten.

        Raises:
            ParamsError: the file cannot be written.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ParamsError(f"{name!r}: a params file's name has letters, digits, - and _ alone")
        folder = project_root() / "params"
        taken = {file.stem for file in folder.glob("*.yaml")}
        name = next(n for n in [name, *(f"{name}_{i}" for i in range(2, len(taken) + 3))] if n not in taken)
        knobs = {
            "error_localization.ratios": list(settings.ratios),
            "error_localization.noise": settings.noise,
            "error_localization.dropout": settings.dropout,
            "semi_supervised.threshold": threshold,
            "run.folder": f"runs/{name}",
        }
        path = folder / f"{name}.yaml"
        try:
            save(build(self.params.model_dump(), knobs), path)
        except OSError as error:
            raise ParamsError(f"{path}: cannot be written ({error.strerror})") from None
        return path


def rank_correlation(rates: dict[float, float]) -> float:
    """Spearman's, of ratio and error rate; NaN for fewer than three."""
    return float(spearmanr(list(rates), list(rates.values())).statistic) if len(rates) > 2 else float("nan")
