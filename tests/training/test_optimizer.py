import math

import pytest
import torch

from eln_kit.training.optimizer import set_lr

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("poly", 0, [1, 0.75**0.9, 0.5**0.9, 0.25**0.9]),
        ("cosine", 2, [0.5, (1 + HALF) / 2, 0.5, (1 - HALF) / 2]),
    ],
)
def test_rates_rise_during_warm_up_and_fall_as_the_schedule_says(tiny, schedule, warmup, expected):
    knobs = {"optimizer.schedule": schedule, "optimizer.warmup": warmup, "optimizer.lr": 1.0}
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1, requires_grad=True)], "share": 0.5}], lr=1.0)
    rates = [set_lr(optimizer, tiny(knobs).optimizer, step, 4) for step in (1, 2, 3, 4)]
    assert rates == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rates[-1] / 2)
