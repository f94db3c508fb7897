"""The optimizer of a stage, and its learning rate at each step."""

import math

import torch

from eln_kit.method.stage import Stage
from eln_kit.params import Optimizer


def make_optimizer(stage: Stage, knobs: Optimizer) -> torch.optim.AdamW:
    groups = stage.networks.parameter_groups(knobs)
    return torch.optim.AdamW(groups, lr=knobs.lr, weight_decay=knobs.weight_decay, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, knobs: Optimizer, step: int, steps: int) -> float:
    """Set each group's rate for this step (counted from 1) and give the one that a share of 1 has."""
    done = (step - 1) / steps
    falling = {"constant": 1.0, "poly": (1 - done) ** 0.9, "cosine": (1 + math.cos(math.pi * done)) / 2}
    factor = falling[knobs.schedule] * min(1.0, step / max(knobs.warmup, 1))
    for group in optimizer.param_groups:
        group["lr"] = knobs.lr * factor * group["share"]
    return knobs.lr * factor
