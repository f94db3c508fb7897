"""Decoders: DeepLabV3+ (Chen et al., ECCV 2018) as the paper's networks have it, and others by name."""

import torch
from torch import Tensor, nn

from eln_kit.faults import ParamsError
from eln_kit.models.features import Features, upsample
from eln_kit.params import Model


def conv_norm_relu(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the size, BatchNorm, ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def head(channels: int, outputs: int) -> nn.Sequential:
    """Two 1x1 convolutions: of class logits, of the embedding, or of ELN's logit.

    No BatchNorm follows them, so they begin as He et al. (ICCV 2015) do: with PyTorch's smaller weights rare classes
    are learnt late.
    """
    layers: list = [nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, outputs, 1)]
    for convolution in layers[::2]:
        nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(*layers)


class Dropout(nn.Dropout):
    """As PyTorch's; but on a processor, where that one draws a 64-bit number for each value, it serves four.

    The probability is then a multiple of 2**-16.
    """

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training or maps.device.type != "cpu" or self.p == 1:
            return super().forward(maps)
        draws = torch.empty(-(-maps.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        kept = draws[: maps.numel()].view_as(maps) >= round(self.p * 2**16) - 2**15
        return maps * (kept.to(maps.dtype) / (1 - self.p))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: deep features at several dilations and pooled as a whole.

    The pooled branch has no BatchNorm: its map is one pixel, so a batch of one image would have no variance.
    """

    def __init__(self, inputs: int, channels: int, rates: list[int], dropout: float):
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_norm_relu(inputs, channels), *(conv_norm_relu(inputs, channels, 3, rate) for rate in rates)]
        )
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, channels, 1, bias=False), nn.ReLU(inplace=True)
        )
        self.project = conv_norm_relu((len(rates) + 2) * channels, channels)
        self.dropout = Dropout(dropout)

    def forward(self, deep: Tensor) -> Tensor:
        maps = [branch(deep) for branch in self.branches]
        maps.append(self.pooled(deep).expand(-1, -1, *deep.shape[2:]))
        return self.dropout(self.project(torch.cat(maps, dim=1)))


class DeepLabV3Plus(nn.Module):
    """Deep features through ASPP, joined with low-level ones: `Features` -> `B channels h w` at stride 4."""

    def __init__(self, inputs: tuple[int, ...], channels: int, rates: list[int], aspp_dropout: float = 0.1):
        super().__init__()
        low, deep = inputs
        self.aspp = ASPP(deep, channels, rates, aspp_dropout)
        self.reduce = conv_norm_relu(low, 48)
        self.fuse = nn.Sequential(
            conv_norm_relu(channels + 48, channels, 3),
            Dropout(0.5),
            conv_norm_relu(channels, channels, 3),
            Dropout(0.1),
            nn.Conv2d(channels, channels, 1),
        )

    def forward(self, features: Features) -> Tensor:
        low = self.reduce(features.low)
        deep = upsample(self.aspp(features.deep), low.shape[2:])
        return self.fuse(torch.cat([deep, low], dim=1))


class Pyramid(nn.Module):
    """A decoder of segmentation_models_pytorch on maps at strides 4, 8, 16 and 32 -> `B channels h w` at stride 4.

    `segformer` brings each map to `channels` by a linear layer and mixes them in one convolution (Xie et al., NeurIPS
    2021); `fpn` (Kirillov et al., CVPR 2019) and `upernet` (Xiao et al., ECCV 2018) go from coarse to fine.
    """

    def __init__(self, name: str, inputs: tuple[int, ...], channels: int):
        super().__init__()
        from segmentation_models_pytorch.decoders import fpn, segformer, upernet  # slow to import

        if name == "fpn" and channels % 32:
            raise ParamsError(f"model.decoder_channels = {channels}: model.decoder = fpn needs a multiple of 32")
        widths = [3, 0, *inputs]  # as these decoders count, from stride 1 on; 0: there is no map at stride 2
        if name == "segformer":
            self.decoder = segformer.decoder.SegformerDecoder(widths, segmentation_channels=channels)
        elif name == "fpn":
            self.decoder = fpn.decoder.FPNDecoder(widths, pyramid_channels=2 * channels, segmentation_channels=channels)
        elif name == "upernet":
            self.decoder = upernet.decoder.UPerNetDecoder(widths, decoder_channels=channels)
            pooled = self.decoder.psp.blocks[0][1]  # one pixel a channel, of which a batch of one has no variance
            pooled[1] = nn.Identity()

    def forward(self, features: Features) -> Tensor:
        low = features.low
        image = low.new_empty(low.shape[0], 0, *(4 * side for side in low.shape[2:]))  # of which the size alone matters
        return self.decoder([image, image, *features])


def wants_pyramid(model: Model) -> bool:
    """Whether the decoder takes a pyramid of four maps; see `Encoder`."""
    return model.decoder != "deeplabv3plus"


def make_decoder(model: Model, inputs: tuple[int, ...], aspp_dropout: float = 0.1) -> nn.Module:
    """The decoder that `model.decoder` names: `Features` of `inputs` channels -> `B model.decoder_channels h w`."""
    if wants_pyramid(model):
        return Pyramid(model.decoder, inputs, model.decoder_channels)
    return DeepLabV3Plus(inputs, model.decoder_channels, model.atrous_rates, aspp_dropout)
