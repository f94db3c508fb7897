"""A timm network that gives feature maps: made, given weights, dilated, and asked which image sizes it takes."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models._features import FeatureGetterNet
from torch import nn

from eln_kit.faults import ParamsError
from eln_kit.models.features import evaluating
from eln_kit.paths import resolve

Network = Any  # a timm network: an `nn.Module` with what timm adds, such as `feature_info`
REFUSED = (TypeError, AssertionError)  # how timm's networks answer an option that they do not have


def create(name: str, weights: str, in_channels: int, pyramid: bool = False) -> Network:
    """A network that turns an image into a list of maps, finest first; `feature_info` tells strides and channels.

    Args: see `Encoder`.
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")[:3]
        raise ParamsError(f"encoder {name}: timm has no such network{'; near: ' + ', '.join(near) if near else ''}")
    for talker in ("timm", "huggingface_hub"):  # that the classifier is left out is no news, nor is each retry
        logging.getLogger(talker).setLevel(logging.ERROR)
    if weights in ("none", "imagenet"):
        return _make(name, weights, pyramid, in_chans=in_channels, pretrained=weights == "imagenet")
    return _make_from_file(name, existing_file(weights), in_channels, pyramid)


def existing_file(weights: str) -> Path:
    """The local file of weights that a knob names; refused when it is not there."""
    file = resolve(weights)
    if not file.is_file():
        raise ParamsError(f"{file}: no such weights file (model.encoder_weights or model.eln_weights)")
    return file


def _make_from_file(name: str, file: Path, in_channels: int, pyramid: bool) -> Network:
    def make(**source: Any) -> Network:
        return _make(name, str(file), pyramid, in_chans=in_channels, pretrained=True, pretrained_cfg_overlay=source)

    network = make(file=str(file))
    if not all(parameter.isfinite().all() for parameter in network.parameters()):
        raise ParamsError(f"{file}: holds NaN or infinite weights")
    weights = timm.models.load_state_dict(str(file), device="cpu")
    with torch.random.fork_rng(devices=[]):
        marked = make(state_dict={part: values * torch.nan for part, values in weights.items()})
    reached = {part: bool(values.isnan().any()) for part, values in marked.named_parameters()}
    _refuse_others(name, file, reached, list(weights))
    return network


def _refuse_others(name: str, file: Path, reached: dict[str, bool], parts: list[str]) -> None:
    """Refuse a file that does not reach every parameter, and say on stderr which of its parts are not used.

    timm passes over what does not fit.
    """
    if missing := [part for part, is_reached in reached.items() if not is_reached]:
        lacks = f"lacks {len(missing)} of its {len(reached)} tensors, such as {missing[0]}"
        lacks = "its tensors have other names" if len(missing) == len(reached) else lacks
        raise ParamsError(f"{file}: are not weights of {name}: {lacks}")
    with torch.device("meta"):
        known = timm.create_model(name).state_dict()
    if (unused := [part for part in parts if part not in known]) and len(unused) < len(parts):
        print(f"{file}: {len(unused)} of its tensors are not used, as {name} has no {unused[0]}", file=sys.stderr)


def _make(name: str, weights: str, pyramid: bool, **given: Any) -> Network:
    try:
        return _first_that_works(name, pyramid, **given)
    except REFUSED:
        raise ParamsError(f"encoder {name}: timm cannot give its feature maps; choose another") from None
    except Exception as error:  # the hub's client and the readers of files raise many kinds
        raise ParamsError(_blame(name, weights, error)) from None


def _first_that_works(name: str, pyramid: bool, **given: Any) -> Network:
    """Stride 16 by dilation, as most CNNs can; else any image size, as transformers can; else as it is.

    For a pyramid without dilation.
    """
    if not pyramid:
        with suppress(*REFUSED):
            return timm.create_model(name, features_only=True, output_stride=16, **given)
    try:
        return _intermediates(timm.create_model(name, num_classes=0, dynamic_img_size=True, **given), pyramid)
    except REFUSED:
        return timm.create_model(name, features_only=True, **given)


def _intermediates(model: Network, pyramid: bool) -> Network:
    """A transformer's maps. A plain one has one stride: it gives an early and its last block's tokens, or those of four
    evenly spaced blocks for a pyramid, normalised as its last layer does. One with stages, such as Swin, gives the end
    of each.
    """
    blocks, plain = len(model.feature_info), len({block["reduction"] for block in model.feature_info}) == 1
    quarters = [max(blocks * part // 4, 1) - 1 for part in (1, 2, 3, 4)]
    chosen = quarters if pyramid else [quarters[0], quarters[-1]]
    if not plain:
        chosen = list(range(blocks))
    network = FeatureGetterNet(model, tuple(chosen), norm=plain)
    network.pretrained_cfg = network.default_cfg = model.pretrained_cfg
    return network


def dilate(name: str, network: nn.Module, dilations: Sequence[int]) -> None:
    """Set the dilations of the 3x3 convolutions in a ResNet's last stage, one a block; their maps keep their size."""
    stage = getattr(network, "layer4", None)
    if stage is None:
        raise ParamsError(f"encoder {name}: is no ResNet; leave model.dilations and model.eln_dilations empty for it")
    if len(stage) != len(dilations):
        blocks = f"{len(stage)} block{'s' if len(stage) > 1 else ''}"
        raise ParamsError(
            f"encoder {name}: its last stage has {blocks}, and {len(dilations)} dilations are given; "
            "give one a block, or none, in model.dilations and model.eln_dilations"
        )
    for block, dilation in zip(stage, dilations, strict=True):
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def try_out(name: str, network: Network, in_channels: int) -> tuple[int, list[int]]:
    """What image sides must be a multiple of, and each map's channels, both found by trial.

    A network either takes any size, or multiples of its deepest stride, or of the size that it was made for. Padded as
    in TensorFlow, it would take any, but odd maps on the way lie elsewhere: some pixels off what it learnt on others.
    """
    usual = timm.data.resolve_data_config(model=network)["input_size"][-1]
    shifts = any(isinstance(layer, timm.layers.Conv2dSame) and max(layer.stride) > 1 for layer in network.modules())
    for multiple in (1, network.feature_info.reduction()[-1], usual)[shifts:]:
        side = nearest_multiple(97, multiple)
        with suppress(AssertionError, RuntimeError, ValueError), torch.no_grad(), evaluating(network):
            maps = network(torch.zeros(1, in_channels, side, side + multiple))
            return multiple, [level.shape[-1 if gives_channels_last(network) else 1] for level in maps]
    raise ParamsError(f"encoder {name}: takes images of {usual} x {usual} pixels only; choose another")


def is_plain(network: Network) -> bool:
    """Whether all its maps have one stride, as a vision transformer's."""
    return len(set(network.feature_info.reduction())) == 1


def nearest_multiple(side: int, multiple: int) -> int:
    """At least one `multiple`; of two that are as near the one whose number is even, as `round` has it.

    In whole numbers, which `torch.export` can follow.
    """
    return at_least((2 * side + multiple - 1 + side // multiple % 2) // (2 * multiple), 1) * multiple


def at_least(side: int, least: int) -> int:
    """The larger one; `torch.export` can follow it."""
    return torch.sym_max(side, least)  # type: ignore[return-value]


def gives_channels_last(network: nn.Module) -> bool:
    """Whether its maps are `B h w c`."""
    return getattr(network, "output_fmt", "NCHW") == "NHWC"


def _blame(name: str, weights: str, error: Exception) -> str:
    """What to say when making the network failed."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if weights == "none":
        return f"encoder {name}: timm cannot give its feature maps ({reason}); choose another"
    if weights == "imagenet":
        return (
            f"encoder {name}: imagenet weights could not be downloaded ({reason}); "
            "name a local file or none in model.encoder_weights and model.eln_weights (docs/trouble.md)"
        )
    return f"{weights}: are not weights of {name}: {reason}"
