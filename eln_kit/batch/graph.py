"""Segmenter and ELN as one graph that carries everything with it, to be exported."""

from copy import deepcopy

from timm.layers import AvgPool2dSame, Conv2dSame, to_2tuple
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from eln_kit.models.error_localizer import ErrorLocalizer
from eln_kit.models.segmenter import Segmenter

PLAIN = {Conv2dSame: nn.Conv2d, AvgPool2dSame: nn.AvgPool2d, MaxPool2dSame: nn.MaxPool2d}  # padded as in TensorFlow


class Graph(nn.Module):
    """Images, uint8 `B 3 H W` -> class logits `B C H W` and trust, ELN's calibrated sigmoid, `B H W`, float in 0..1.

    Normalisation and ELN's further views are inside; always in evaluation mode.
    """

    def __init__(self, segmenter: Segmenter, eln: ErrorLocalizer):
        super().__init__()
        self.segmenter, self.eln = deepcopy(segmenter), deepcopy(eln)
        self.requires_grad_(False).eval()
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                if type(child) in PLAIN:
                    setattr(parent, name, _padded(child))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = image.float() / 255
        logits = self.segmenter.predict(seen)
        return logits, self.eln(seen, logits, self.eln.further(self.segmenter, seen))[:, 0].sigmoid()


def _padded(layer: nn.Module) -> nn.Sequential:
    """The same where the side is a multiple of the stride, as `Encoder` makes it, without arithmetic on sizes."""
    sides = zip(*(to_2tuple(getattr(layer, n, 1)) for n in ("kernel_size", "dilation", "stride")), strict=True)
    high, wide = (max((kernel - 1) * dilation + 1 - stride, 0) for kernel, dilation, stride in sides)
    filled = float("-inf") if isinstance(layer, nn.MaxPool2d) else 0.0
    border = nn.ConstantPad2d((wide // 2, wide - wide // 2, high // 2, high - high // 2), filled)
    layer.__class__ = PLAIN[type(layer)]
    return nn.Sequential(border, layer)
