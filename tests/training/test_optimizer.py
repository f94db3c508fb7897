import math

import pytest
import torch

from eln_kit.training.optimizer import set_lr


def test_rates_rise_during_warm_up_and_fall_as_half_a_cosine(tiny):
    knobs = tiny({"optimizer.schedule": "cosine", "optimizer.warmup": 2, "optimizer.lr": 1.0}).optimizer
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "share": 0.5}], lr=1.0)
    rates = [set_lr(optimizer, knobs, step, 4) for step in (1, 2, 3, 4)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.5, (1 + half) / 2, 0.5, (1 - half) / 2])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rates[-1] / 2)
