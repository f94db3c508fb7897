"""All networks of an experiment under one roof, so that one checkpoint holds them."""

from copy import deepcopy
from typing import Literal

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from eln_kit.models.error_localizer import ErrorLocalizer
from eln_kit.models.segmenter import AuxiliaryDecoder, Segmenter
from eln_kit.params import Optimizer, Params

Which = Literal["student", "teacher"]


class Networks(nn.Module):
    """Student, auxiliary decoders, ELN and teacher.

    The teacher is an exponential moving average of the student's parameters and of its BatchNorm statistics, by torch's
    function of its `AveragedModel` (which itself would wait for the device in each step). It starts as the student;
    stage 3 moves it, always in evaluation mode.
    """

    def __init__(self, params: Params, classes: int):
        super().__init__()
        torch.manual_seed(params.run.seed)
        model, errors = params.model, params.error_localization
        self.student = Segmenter(model, classes)
        encoder = self.student.encoder
        self.auxiliary = nn.ModuleList(
            AuxiliaryDecoder(encoder.channels, model, classes, errors.noise, errors.dropout) for _ in errors.ratios
        )
        self.eln = ErrorLocalizer(model, classes, encoder.mean, encoder.std)
        self.knobs = params.semi_supervised
        self.teacher = deepcopy(self.student).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Networks":
        """As usual, but the teacher never leaves evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def segmenter(self, which: Which) -> Segmenter:
        return self.teacher if which == "teacher" else self.student

    def restart_teacher(self) -> None:
        """Make the teacher equal to the student."""
        self.teacher.load_state_dict(self.student.state_dict())

    @torch.no_grad()
    def update_teacher(self, step: int) -> None:
        """Move it towards the student, after the training step of that number, counted from 1."""
        kept = min(self.knobs.ema, 1 - 1 / (step + 1)) if self.knobs.ema_warmup else self.knobs.ema
        averaged, current = (
            [values for values in network.state_dict().values() if values.is_floating_point()]
            for network in (self.teacher, self.student)
        )
        get_ema_multi_avg_fn(kept)(averaged, current, None)

    def parameter_groups(self, knobs: Optimizer) -> list[dict]:
        """Every trainable parameter once, BatchNorm's among them, in groups whose rate is `share` times `knobs.lr`."""
        student, eln = self.student, self.eln
        parts = [
            ([p for p in student.encoder.parameters() if p.requires_grad], knobs.encoder_lr_factor),
            (eln.encoder.parameters(), knobs.encoder_lr_factor * knobs.eln_lr_factor),
            ([*eln.decoder.parameters(), *eln.judge.parameters()], knobs.eln_lr_factor),
        ]
        groups: list[dict] = [{"params": list(parameters), "share": share} for parameters, share in parts]
        known = {id(p) for group in groups for p in group["params"]}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return [*groups, {"params": others, "share": 1.0}]
