"""Encoders: any timm network with feature maps, convolutional or transformer."""

import math
from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from eln_kit.faults import ParamsError
from eln_kit.models import backbone
from eln_kit.models.features import Features, upsample

COARSEST = 32  # stride of a pyramid's last map


class Encoder(nn.Module):
    """A timm network that gives two maps, or the four of a pyramid.

    Two: the last is the network's last map, at stride 16 where timm can bring it there by dilation, else at its own
    stride (32 for Swin, the patch for a vision transformer). The first is the network's first map at stride 4 or
    coarser, resized to stride 4 where it is not.

    A pyramid: the network's maps at strides 4, 8, 16 and 32, without dilation; of a vision transformer those of four
    evenly spaced blocks, resized to these strides. But for those, image sides are
    brought to multiples of 32, and to 64 at least, since normalisation wants more than one pixel of the last map.

    Networks that want image sides to be multiples of something get the image resized to the nearest ones.

    Args:
        name: timm name such as `resnet50`, `convnext_tiny`, `vit_small_patch14_dinov2`.
        weights: `imagenet` (timm downloads them), a local weights file, or `none`.
        in_channels: channels of the input; timm spreads pretrained weights over other numbers than 3.
        dilations: of the 3x3 convolutions of a ResNet's last stage, one a block; empty: timm's own.
        pyramid: four maps instead of two.

    Attributes:
        channels: channels of each map.
        mean, std: what the weights expect the first three input channels, in 0..1, to be normalised with.
        multiple: what the image sides are brought to a multiple of, pixels.

    Raises:
        ParamsError: timm has no such network, it cannot be used here, or its weights or dilations do not fit.
    """

    def __init__(
        self,
        name: str,
        weights: str = "none",
        in_channels: int = 3,
        dilations: Sequence[int] = (),
        pyramid: bool = False,
    ):
        super().__init__()
        self.network = backbone.create(name, weights, in_channels, pyramid)
        if pyramid and dilations:
            raise ParamsError(f"encoder {name}: dilations are for model.decoder = deeplabv3plus; leave them empty")
        if dilations:
            backbone.dilate(name, self.network, dilations)
        self.multiple, channels = backbone.try_out(name, self.network, in_channels)
        usable = [index for index, stride in enumerate(self.network.feature_info.reduction()) if stride >= 4]
        self.pyramid, self.places = pyramid, usable[:4] if pyramid else [usable[0], -1]
        if pyramid and len(usable) < 4:
            raise ParamsError(f"encoder {name}: has {len(usable)} maps at stride 4 or coarser, and the decoder takes 4")
        if pyramid:
            self.multiple = math.lcm(self.multiple, 1 if backbone.is_plain(self.network) else COARSEST)
        self.channels = tuple(channels[level] for level in self.places)
        pretrained = timm.data.resolve_data_config(model=self.network)
        self.mean, self.std = pretrained["mean"], pretrained["std"]

    def forward(self, image: Tensor) -> Features:
        sides = [backbone.at_least(side, 2 * COARSEST) if self.pyramid else side for side in image.shape[2:]]
        maps = self.network(_resize(image, [backbone.nearest_multiple(side, self.multiple) for side in sides]))
        maps = [maps[level] for level in self.places]
        if backbone.gives_channels_last(self.network):
            maps = [level.permute(0, 3, 1, 2) for level in maps]
        if self.pyramid:
            coarsest = [backbone.nearest_multiple(side, COARSEST) // COARSEST for side in sides]
            sizes = [[side * factor for side in coarsest] for factor in (8, 4, 2, 1)]
            return Features(_resize(level, size) for level, size in zip(maps, sizes, strict=True))
        return Features((_resize(maps[0], [(side + 3) // 4 for side in sides]), maps[1]))


def _resize(x: Tensor, size: list[int]) -> Tensor:
    if torch.compiler.is_exporting():  # of any size; of its own, `upsample` changes nothing
        return upsample(x, size)
    return x if list(x.shape[2:]) == size else upsample(x, size)
