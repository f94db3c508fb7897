"""Encoders: any timm network with feature maps, convolutional or transformer, at output stride 16 where it can."""

from collections.abc import Sequence

import timm
from torch import Tensor, nn

from eln_kit.models import backbone
from eln_kit.models.features import Features, upsample


class Encoder(nn.Module):
    """A timm network that gives features at stride 4 and deep ones.

    The deep ones are the network's last map: at stride 16 where timm can bring it there, else at its own stride (32
    for Swin, the patch for a vision transformer). The low ones are its first map at stride 4 or coarser, resized to
    stride 4 where they are not. Networks that want image sides to be multiples of something get the image resized to
    the nearest ones.

    Args:
        name: timm name such as `resnet50`, `convnext_tiny`, `vit_small_patch14_dinov2`.
        weights: `imagenet` (timm downloads them), a local weights file, or `none`.
        in_channels: channels of the input; timm spreads pretrained weights over other numbers than 3.
        dilations: of the 3x3 convolutions of a ResNet's last stage, one a block; empty: timm's own.

    Attributes:
        channels: channels of the low and the deep features.
        mean, std: what the weights expect the first three input channels, in 0..1, to be normalised with.
        multiple: what the image sides are brought to a multiple of, pixels.

    Raises:
        ParamsError: timm has no such network, it cannot be used here, or its weights or dilations do not fit.
    """

    def __init__(self, name: str, weights: str = "none", in_channels: int = 3, dilations: Sequence[int] = ()):
        super().__init__()
        self.network = backbone.create(name, weights, in_channels)
        if dilations:
            backbone.dilate(name, self.network, dilations)
        self.multiple, channels = backbone.try_out(name, self.network, in_channels)
        strides = self.network.feature_info.reduction()
        self.low_index = next(index for index, stride in enumerate(strides) if stride >= 4)
        self.channels = (channels[self.low_index], channels[-1])
        pretrained = timm.data.resolve_data_config(model=self.network)
        self.mean, self.std = pretrained["mean"], pretrained["std"]

    def forward(self, image: Tensor) -> Features:
        height, width = image.shape[2:]
        fitting = [backbone.nearest_multiple(side, self.multiple) for side in (height, width)]
        maps = self.network(_resize(image, fitting))
        low, deep = maps[self.low_index], maps[-1]
        if backbone.gives_channels_last(self.network):
            low, deep = low.permute(0, 3, 1, 2), deep.permute(0, 3, 1, 2)
        return Features(_resize(low, [-(-height // 4), -(-width // 4)]), deep)


def _resize(x: Tensor, size: list[int]) -> Tensor:
    return x if list(x.shape[2:]) == size else upsample(x, size)
