"""What passes from an encoder to decoders, and the one way in which maps are resized."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class Features(NamedTuple):
    """What a decoder takes: `low` at stride 4 and `deep` at stride 16 or so, both float `B c h w`."""

    low: Tensor
    deep: Tensor

    def detach(self) -> "Features":
        return Features(self.low.detach(), self.deep.detach())


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear resize of `B c h w` to `size`, corners aligned as in the paper's networks."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def predicted(logits: Tensor) -> Tensor:
    """The class of each pixel: `B C h w` -> long `B h w`. On processors argmax over channels is many times slower."""
    return logits.max(dim=1).indices
