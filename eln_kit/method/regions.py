"""Places in a batch: random windows for the contrastive loss, and CutMix's boxes.

They are drawn from Python's generator, which training seeds alike in all processes of a step.
"""

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

Window = tuple[slice, slice]  # rows, columns
AREA = (0.02, 0.4)  # of a CutMix box, as a share of the image
RATIO = (0.3, 1 / 0.3)  # of its height to its width


def random_windows(size: Sequence[int], window: tuple[int, int], count: int) -> list[Window]:
    """`count` random windows of a map, at most `window` high and wide; a map that fits in one is one window."""
    high, wide = (min(pair) for pair in zip(size, window, strict=True))
    if (high, wide) == tuple(size):
        return [(slice(0, high), slice(0, wide))]
    corners = [(random.randint(0, size[0] - high), random.randint(0, size[1] - wide)) for _ in range(count)]
    return [(slice(top, top + high), slice(left, left + wide)) for top, left in corners]


def random_boxes(like: Tensor, probability: float) -> Tensor:
    """bool `B H W`, as `like` and where it is: True in a box of random place, size and shape, with that probability."""
    boxes = torch.zeros_like(like, dtype=torch.bool)
    height, width = like.shape[1:]
    for box in boxes:
        if random.random() < probability:
            area = height * width * random.uniform(*AREA)
            ratio = math.exp(random.uniform(*map(math.log, RATIO)))
            sides = (max(1, round((area * ratio) ** 0.5)), max(1, round((area / ratio) ** 0.5)))
            box[random_windows((height, width), sides, 1)[0]] = True
    return boxes


def mix(maps: Tensor, boxes: Tensor | None) -> Tensor:
    """CutMix (Yun et al., ICCV 2019): inside its box, an image gets what the batch's previous one has there.

    Args:
        maps: images, labels or features, `B H W` or `B c h w`.
        boxes: bool `B H W`, from `random_boxes`, sampled down where the maps are smaller; None mixes nothing.
    """
    if boxes is None:
        return maps
    boxes = at_features(boxes, maps.shape[-2:])
    return torch.where(boxes[:, None] if maps.dim() == 4 else boxes, maps.roll(1, dims=0), maps)


def at_features(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Labels or boxes `B H W` at the pixels where aligned corners put the cells of a feature map: `B h w`."""
    rows, columns = (
        torch.linspace(0, pixels - 1, cells, device=maps.device).round().long()
        for pixels, cells in zip(maps.shape[-2:], size, strict=True)
    )
    return maps[..., rows[:, None], columns]
