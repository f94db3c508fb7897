"""Encoders: any timm network with feature maps, at output stride 16."""

import logging
from pathlib import Path
from typing import NamedTuple

import timm
from safetensors import SafetensorError
from torch import Tensor, nn

from eln_kit.params import ParamsError
from eln_kit.paths import resolve


class Features(NamedTuple):
    """What a decoder takes: `low` at stride 4 and `deep` at stride 16, both float `B c h w`."""

    low: Tensor
    deep: Tensor

    def detach(self) -> "Features":
        return Features(self.low.detach(), self.deep.detach())


class Encoder(nn.Module):
    """A timm network that gives its stride-4 and stride-16 feature maps.

    Args:
        name: timm name such as `resnet50`, `tf_efficientnet_lite0`, `convnext_tiny`.
        weights: `imagenet` (timm downloads them), a local weights file, or `none`.
        in_channels: channels of the input; timm spreads pretrained weights over other numbers than 3.

    Attributes:
        channels: channels of the low and the deep features.
        mean, std: what the weights expect the first three input channels, in 0..1, to be normalised with.
    """

    def __init__(self, name: str, weights: str = "none", in_channels: int = 3):
        super().__init__()
        self.network = _create(name, weights, in_channels)
        strides = self.network.feature_info.reduction()
        if 4 not in strides or strides[-1] != 16:
            raise ParamsError(f"encoder {name}: has feature maps at strides {strides}; stride 4 and 16 are needed")
        self.low_index = strides.index(4)
        channels = self.network.feature_info.channels()
        self.channels = (channels[self.low_index], channels[-1])
        pretrained = timm.data.resolve_data_config(model=self.network)
        self.mean, self.std = pretrained["mean"], pretrained["std"]

    def forward(self, image: Tensor) -> Features:
        maps = self.network(image)
        return Features(maps[self.low_index], maps[-1])


def _create(name: str, weights: str, in_channels: int) -> nn.Module:
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:3]
        raise ParamsError(f"encoder {name}: timm has no such network{'; near: ' + ', '.join(near) if near else ''}")
    for talker in ("timm", "huggingface_hub"):  # that the classifier is left out is no news, nor is each retry
        logging.getLogger(talker).setLevel(logging.ERROR)
    options = {"features_only": True, "output_stride": 16, "in_chans": in_channels}
    if weights not in ("none", "imagenet"):
        return _create_from_file(name, resolve(weights), options)
    try:
        return timm.create_model(name, pretrained=weights == "imagenet", **options)
    except TypeError:
        raise ParamsError(f"encoder {name}: timm cannot give its feature maps at output stride 16") from None
    except Exception as error:  # the hub's client raises many kinds
        reason = str(error).splitlines()[0]
        raise ParamsError(
            f"encoder {name}: imagenet weights could not be downloaded ({reason}); "
            "name a local file or none in model.encoder_weights and model.eln_weights"
        ) from None


def _create_from_file(name: str, file: Path, options: dict) -> nn.Module:
    if not file.is_file():
        raise ParamsError(f"{file}: no such weights file (model.encoder_weights or model.eln_weights)")
    try:
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **options)
    except (RuntimeError, SafetensorError, OSError, KeyError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParamsError(f"{file}: are not weights of {name}: {reason}") from None
