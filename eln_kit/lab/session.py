"""What the error lab knows and does, without a widget: errors are made, found, and learnt from.

Work that takes long yields the share done, so that whoever drives it can show it and stop it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from eln_kit.data import VOID
from eln_kit.evaluation.measures import Ranking, draw_pixels
from eln_kit.lab import frozen
from eln_kit.lab.erring import RATIOS, Erring, Point, classes_at
from eln_kit.lab.judging import Judge, Judged, Measured, drawn_auprs
from eln_kit.lab.learner import Learner
from eln_kit.lab.settings import Settings
from eln_kit.method.stages import STAGES
from eln_kit.models import Networks
from eln_kit.outcome.errors import boundary_distance, overlap, taken_for, wrong_pixels
from eln_kit.params import Params
from eln_kit.store.experiment import Experiment

BOUNDARY = 3  # pixels from another class that count as next to a boundary
MAIN = "main decoder"
KEPT = 8  # measures on all held-out images, some megabytes each


class Session:
    """A run's segmenter after some stage, frozen; auxiliary decoders made here; and its ELN, which may learn on."""

    def __init__(self, experiment: Experiment, stage: str, networks: Networks):
        self.experiment, self.stage = experiment, stage
        self.segmenter = networks.segmenter(STAGES[stage].measured)
        self.learner = Learner(networks, experiment.params)
        self.crops = frozen.crops(self.segmenter, networks.eln, experiment)
        self.held = frozen.held(self.segmenter, networks.eln, experiment)
        self.truth = _flat([each.truth for each in self.held])
        self.edge = _flat([boundary_distance(each.truth) <= BOUNDARY for each in self.held])
        self.main = [classes_at(each.prediction.logits, each.truth.shape) for each in self.held]
        self.erring: list[Erring] = []
        self._measured: dict[tuple, Measured] = {}  # by what it depends on
        self._swept: tuple[Settings | None, dict[float, Point]] = None, {}

    @property
    def params(self) -> Params:
        return self.experiment.params

    @property
    def names(self) -> list[str]:
        """Of the predictions: the main decoder's, then the auxiliary ones'."""
        return [MAIN, *(f"auxiliary {each.number}, ratio {each.ratio:g}" for each in self.erring)]

    def make_errors(self, settings: Settings) -> Iterator[float]:
        """Train the auxiliary decoders of these settings as far as they lack steps, and let them predict.

        Yields: the share done, of each of the two.
        """
        erring = self.decoders(settings)
        yield from self.train(erring, settings.steps)
        yield from self.predict(erring)

    def decoders(self, settings: Settings) -> list[Erring]:
        """Those of these settings, trained as far as they are; they are `erring` until others are asked for."""
        self.erring = [self._decoder(number, ratio, settings) for number, ratio in enumerate(settings.ratios, 1)]
        return self.erring

    def train(self, erring: list[Erring], steps: int) -> Iterator[float]:
        """Each decoder up to so many steps, all in turn."""
        lacking = sum(steps - len(each.ratios) for each in erring)
        while unfinished := [each for each in erring if len(each.ratios) < steps]:
            for each in unfinished:
                each.step()
                yield 1 - sum(steps - len(e.ratios) for e in erring) / lacking

    def predict(self, erring: list[Erring]) -> Iterator[float]:
        """What each decoder says of each held-out image."""
        for number, each in enumerate(erring):
            for place, image in enumerate(self.held):
                each.predict(place, image)
                yield (number + (place + 1) / len(self.held)) / len(erring)

    def _decoder(self, number: int, ratio: float, settings: Settings) -> Erring:
        """The one at this place where it is of these settings and not trained too far, else a new one."""
        for old in self.erring:
            if old.made == (number, ratio, settings.noise, settings.dropout) and len(old.ratios) <= settings.steps:
                return old
        return Erring(self.crops, self.params, number, ratio, settings)

    def predictions(self, place: int) -> dict[str, Tensor]:
        """Of a held-out image, by `names`: the masks as the decoders are now, uint8 `H W`."""
        masks = [self.main[place], *(erring.predict(place, self.held[place]) for erring in self.erring)]
        return dict(zip(self.names, masks, strict=True))

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
        shown = [self.predictions(place) for place in range(len(self.held))]
        every = {name: _flat([masks[name] for masks in shown]) for name in self.names}
        wrong = {name: wrong_pixels(mask, self.truth) for name, mask in every.items()}
        return [
            {
                "name": name,
                "error_rate": self._error_rate(errors),
                "near_boundary": (errors & self.edge).sum().item() / max(errors.sum().item(), 1),
                "overlap": {other: overlap(errors, wrong[other]) for other in wrong if other != name},
                "taken_for": taken_for(every[name], self.truth, self.experiment.dataset.classes),
            }
            for name, errors in wrong.items()
        ]

    def points(self, settings: Settings) -> dict[float, Point]:
        """What one decoder at each ratio says, as far as `sweep` has come with these settings; from any thread."""
        swept, points = self._swept
        return points if swept == replace(settings, ratios=()) else {}

    def sweep(self, settings: Settings) -> Iterator[float]:
        """Train one decoder at each of `RATIOS`, those that `points` lacks. Yields: the share done."""
        points = self.points(settings)
        for number, ratio in enumerate(RATIOS, 1):
            if ratio not in points:
                decoder = Erring(self.crops, self.params, 1, ratio, settings)  # others are shown, and may be training
                for share in self.train([decoder], settings.steps):
                    yield (number - 1 + share) / len(RATIOS)
                masks = [decoder.predict(place, image) for place, image in enumerate(self.held)]
                rate = self._error_rate(wrong_pixels(_flat(masks), self.truth))
                points = {**points, ratio: Point(masks, rate)}
                self._swept = replace(settings, ratios=()), points
            yield number / len(RATIOS)

    def _error_rate(self, wrong: Tensor) -> float:
        return wrong.sum().item() / max((self.truth != VOID).sum().item(), 1)

    @property
    def main_error_rate(self) -> float:
        return self._error_rate(wrong_pixels(_flat(self.main), self.truth))

    def judge(self, place: int, which: int) -> Judged:
        """Who trusts which pixel of prediction `which` (0 the main decoder's) of an image, with all as it is now."""
        judge = Judge(self.learner, self.names[which], self.erring[which - 1] if which else None)
        image = self.held[place]
        prediction, trust = judge(image)
        known = image.truth != VOID
        here = Ranking(trust["ELN"][known], wrong_pixels(prediction, image.truth)[known])
        return Judged(place, judge, prediction, trust, here)

    def measure(self, judge: Judge) -> Iterator[float]:
        """Each detector on pixels of all held-out images, for `measured`. Yields: the share done."""
        if judge.key in self._measured:
            return
        wrong: list[Tensor] = []
        trusts: list[dict[str, Tensor]] = []
        generator = torch.Generator().manual_seed(0)
        for image in self.held:
            prediction, trust = judge(image)
            drawn = draw_pixels(image.truth, self.params.evaluation.pixels, generator)
            wrong.append(wrong_pixels(prediction, image.truth).flatten()[drawn])
            trusts.append({name: map.flatten()[drawn] for name, map in trust.items()})
            yield len(wrong) / (len(self.held) + 1)
        pooled = {name: [trust[name] for trust in trusts] for name in trusts[0]}
        rankings = {name: Ranking(torch.cat(images), torch.cat(wrong)) for name, images in pooled.items()}
        auprs = {name: drawn_auprs(images, wrong) for name, images in pooled.items()}
        self._measured[judge.key] = Measured(rankings, auprs)
        while len(self._measured) > KEPT:
            del self._measured[next(iter(self._measured))]

    def measured(self, judged: Judged) -> Judged:
        """With what `measure` has found."""
        return replace(judged, everywhere=self._measured[judged.judge.key])

    def find(self, place: int, which: int) -> Judged:
        """What `judge` says, measured on all held-out images."""
        judged = self.judge(place, which)
        list(self.measure(judged.judge))
        return self.measured(judged)

    def train_eln(self, steps: int, erring: list[Erring]) -> Iterator[float]:
        """Train ELN on the errors that the main decoder and these make now. Yields: the share done."""
        return self.learner.train(steps, self.crops, erring)


def _flat(masks: Sequence[Tensor]) -> Tensor:
    """The pixels of all held-out images in a row."""
    return torch.cat([mask.flatten() for mask in masks])
