"""How far a measure on the held-out images depends on which images these are: drawn again with replacement."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

DRAWS = 500
PLACES = 4000  # of a ranking at which precision is looked at; the area's error is far below an interval's width


def drawn_auprs(trust: Sequence[Tensor], wrong: Sequence[Tensor]) -> np.ndarray:
    """AUPR of a detector's errors in `DRAWS` draws of as many images, the same draws at each call.

    Args:
        trust: of each image's pixels, float `N`.
        wrong: bool `N`.

    Returns:
        float `DRAWS`; NaN where no drawn image has an error.
    """
    image = torch.arange(len(trust)).repeat_interleave(torch.tensor([len(each) for each in trust]))
    pooled, order = torch.cat([*trust]).sort()
    ends = torch.cat([pooled.diff() > 0, torch.ones(1, dtype=torch.bool)]).nonzero()[:, 0]  # equal trust, one place
    ends = ends[torch.linspace(0, len(ends) - 1, min(PLACES, len(ends))).round().long()]
    mine = torch.nn.functional.one_hot(image[order], len(trust))
    among = mine.cumsum(0)[ends].double().numpy()  # PLACES images: pixels among the least trusted
    caught = (mine * torch.cat([*wrong])[order, None]).cumsum(0)[ends].double().numpy()
    draws = np.random.default_rng(0).multinomial(len(trust), np.full(len(trust), 1 / len(trust)), DRAWS)
    caught, among = draws @ caught.T, draws @ among.T
    with np.errstate(invalid="ignore"):
        precision = caught / np.maximum(among, 1)
        return (np.diff(caught, prepend=0) * precision).sum(1) / caught[:, -1]
