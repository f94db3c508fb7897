"""What all networks share: features between encoder and decoder, resizing, the predicted class, evaluation mode."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Features(tuple[Tensor, ...]):
    """What a decoder takes: maps of an image, float `B c h w`, finest first.

    DeepLabV3+ takes two, at stride 4 and at 16 or so; decoders of a pyramid take four, at strides 4, 8, 16 and 32.
    """

    @property
    def low(self) -> Tensor:
        return self[0]

    @property
    def deep(self) -> Tensor:
        return self[-1]

    def detach(self) -> "Features":
        return Features(level.detach() for level in self)


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of `B c h w` to `size`, corners aligned as in the paper's networks."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def predicted(logits: Tensor) -> Tensor:
    """The class of each pixel: `B C h w` -> long `B h w`. On processors argmax over channels is many times slower."""
    return logits.max(dim=1).indices


@contextmanager
def evaluating(module: Network) -> Iterator[Network]:
    """The module in evaluation mode, and back to the mode it had."""
    was_training = module.training
    try:
        yield module.eval() if was_training else module  # going through all parts takes a millisecond
    finally:
        if was_training:
            module.train()
