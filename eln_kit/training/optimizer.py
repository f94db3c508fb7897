"""The optimizer of a stage, and its learning rate at each step."""

import torch

from eln_kit.method.stages import Stage
from eln_kit.params import Optimizer


def make_optimizer(stage: Stage, knobs: Optimizer) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        stage.networks.parameter_groups(knobs), lr=knobs.lr, weight_decay=knobs.weight_decay, fused=True
    )


def set_lr(optimizer, knobs: Optimizer, step: int, steps: int) -> float:
    """Set each group's rate for this step (counted from 1) and give the decoders' one."""
    factor = (1 - (step - 1) / steps) ** 0.9 if knobs.schedule == "poly" else 1.0
    for group in optimizer.param_groups:
        group["lr"] = knobs.lr * factor * group["share"]
    return knobs.lr * factor
