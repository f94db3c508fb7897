"""A run's ELN that learns on in the lab, on errors made here, and can become the run's own again."""

import copy
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from eln_kit.lab.erring import BATCH, Erring
from eln_kit.lab.frozen import Crops
from eln_kit.method.losses import judgement_loss
from eln_kit.method.stages import follow_weight
from eln_kit.models import Networks
from eln_kit.params import Params


class Learner:
    """ELN and its training here.

    Attributes:
        steps: trained here since the run's own.
        version: another number after each step; 0 is the run's own.
    """

    def __init__(self, networks: Networks, params: Params):
        self.eln, self.params = networks.eln, params
        knobs = params.optimizer
        groups = [group | {"lr": knobs.lr * group["share"]} for group in networks.parameter_groups(knobs)]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=knobs.weight_decay)  # ELN alone has gradients here
        self._own = copy.deepcopy((self.eln.state_dict(), self.optimizer.state_dict()))
        self._versions = itertools.count(1)
        self.steps = self.version = 0

    def reset(self) -> None:
        """Weights and optimizer as the run left them."""
        weights, rates = copy.deepcopy(self._own)
        self.eln.load_state_dict(weights)
        self.optimizer.load_state_dict(rates)
        self.steps = self.version = 0

    def train(self, steps: int, crops: Crops, erring: list[Erring]) -> Iterator[float]:
        """Train on what the main decoder and these say now of the labelled crops, at stage 2's rates."""
        every = torch.stack([crops.logits, *(each.on_crops() for each in erring)])  # K+1 N C h w
        yield 0.0
        for step in range(1, steps + 1):
            generator = torch.Generator().manual_seed(self.steps)
            places = torch.randperm(len(crops), generator=generator)[:BATCH]
            with torch.random.fork_rng():
                torch.manual_seed(self.steps)
                self._step(every[:, places].flatten(0, 1), crops[places], len(every))
            self.steps, self.version = self.steps + 1, next(self._versions)
            yield step / steps

    def _step(self, logits: Tensor, part: Crops, count: int) -> None:
        looks = [look.repeat(count, 1, 1, 1) for look in part.looks]
        judged = self.eln.train()(part.image.repeat(count, 1, 1, 1), logits, looks)
        knobs = self.params.error_localization
        loss = judgement_loss(judged, logits, part.mask, knobs, count)
        follow_weight(self.eln, logits[: len(part.mask)], part.mask, knobs)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
