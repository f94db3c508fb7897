"""The official networks under their own tensor names, as plain functions on a state: random weights, then maps.

Written from a description, so that the tests compare two independent readings of it. Decoders may be thinner than the
official 256 channels.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F

BLOCKS = {34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDES = (1, 2, 2, 1)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def checkpoint(depth: int, classes: int, width: int = 16, embedding: int = 8) -> dict:
    """What train.py saves after stage 2, with random weights and BatchNorm statistics."""
    torch.manual_seed(depth + classes)
    heads = {"cls.classifier": classes, "proj.projector": embedding}
    decoder = {"low": 256, "deep": 2048, "width": width, "heads": heads}
    eln = {"low": 64, "deep": 512, "width": width, "heads": {"classifier": 1}}
    return {
        "epoch": 120,
        "enc_state_dict": random_encoder(depth, 3),
        "dec_state_dict": random_decoder(**decoder),
        "scaler_state_dict": {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0},
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(9.0)}}, "param_groups": [{"lr": 1e-5}]},
        "eln_state_dict": random_encoder(34, 3 + 1 + classes) | random_decoder(**eln),
        "dec_0": random_decoder(**decoder),
        "dec_1": random_decoder(**decoder),
    }


def predict(official: dict, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Image in 0..1 to class logits, embedding, both auxiliary decoders' logits, and ELN's logit at image size."""
    image = (image - MEAN) / STD
    low, deep = encode(official["enc_state_dict"], image, (2, 4, 8))
    decoded = decode(official["dec_state_dict"], low, deep)
    logits, embedding = (head(official["dec_state_dict"], n, decoded) for n in ("cls.classifier", "proj.projector"))
    others = [head(official[n], "cls.classifier", decode(official[n], low, deep)) for n in ("dec_0", "dec_1")]

    eln, upsampled = official["eln_state_dict"], resize(logits, image.shape[2:])
    p = upsampled.softmax(1)
    seen = torch.cat([image, -(p * p.clamp(min=1e-30).log()).sum(1, keepdim=True), upsampled], 1)
    judged = head(eln, "classifier", decode(eln, *encode(eln, seen, (1, 1, 1))))
    return logits, embedding, *others, resize(judged, image.shape[2:])


def random_conv(state, name, inputs, outputs, kernel=1, bias=False, gain=1.0):
    weight = torch.randn(outputs, inputs, kernel, kernel)
    state[f"{name}.weight"] = gain * (2 / (inputs * kernel**2)) ** 0.5 * weight
    if bias:
        state[f"{name}.bias"] = 0.2 * torch.randn(outputs)


def random_norm(state, name, channels, scale=1.0):
    state[f"{name}.weight"] = scale * (0.5 + torch.rand(channels))
    state[f"{name}.bias"] = 0.2 * torch.randn(channels)
    state[f"{name}.running_mean"] = 0.3 * torch.randn(channels)
    state[f"{name}.running_var"] = 0.5 + torch.rand(channels)
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def random_encoder(depth, inputs):
    state = {}
    random_conv(state, "backbone.conv1", inputs, 64, 7)
    random_norm(state, "backbone.bn1", 64)
    wide, short = (1, "shortcut") if depth == 34 else (4, "downsample")
    inputs = 64
    for layer, (blocks, stride) in enumerate(zip(BLOCKS[depth], STRIDES, strict=True), 1):
        inner = 64 * 2 ** (layer - 1)
        sides = (inputs, inner, inner) if depth == 34 else (inputs, inner, inner, 4 * inner)
        for block in range(blocks):
            name, sides = f"backbone.layer{layer}.{block}", (inputs, *sides[1:])
            for n, (a, b) in enumerate(pairwise(sides), 1):
                random_conv(state, f"{name}.conv{n}", a, b, 1 if len(sides) == 4 and n != 2 else 3)
                random_norm(state, f"{name}.bn{n}", b, 0.3 if n == len(sides) - 1 else 1.0)
            if block == 0 and (stride != 1 or inputs != wide * inner):
                random_conv(state, f"{name}.{short}.0", inputs, wide * inner)
                random_norm(state, f"{name}.{short}.1", wide * inner)
            inputs = wide * inner
    return state


def random_decoder(low, deep, width, heads):
    state = {}
    for branch, kernel in enumerate((1, 3, 3, 3), 1):
        random_conv(state, f"aspp.aspp{branch}.atrous_conv", deep, width, kernel)
        random_norm(state, f"aspp.aspp{branch}.bn", width)
    random_conv(state, "aspp.global_avg_pool.1", deep, width)
    random_conv(state, "aspp.conv1", 5 * width, width)
    random_norm(state, "aspp.bn1", width)
    random_conv(state, "decoder.conv1", low, 48)
    random_norm(state, "decoder.bn1", 48)
    for name, inputs in (("decoder.last_conv1", width + 48), ("decoder.last_conv2", width)):
        random_conv(state, f"{name}.0", inputs, width, 3)
        random_norm(state, f"{name}.1", width)
    random_conv(state, "decoder.last_conv3", width, width, bias=True)
    for name, outputs in heads.items():
        random_conv(state, f"{name}.0", width, width, bias=True)
        random_conv(state, f"{name}.2", width, outputs, bias=True, gain=0.2)  # maps of about 1 to 10
    return state


def conv(state, name, x, **how):
    return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **how)


def norm(state, name, x):
    mean, var, weight, bias = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=1e-5)


def resize(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def encode(state, x, dilations):
    """Layer 1's and layer 4's maps."""
    x = norm(state, "backbone.bn1", conv(state, "backbone.conv1", x, stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    maps = []
    for layer, first_stride in enumerate(STRIDES, 1):
        names = sorted({name.split(".")[2] for name in state if name.startswith(f"backbone.layer{layer}.")}, key=int)
        for block in names:
            stride = first_stride if block == "0" else 1
            dilation = dilations[int(block)] if layer == 4 else 1
            x = residual(state, f"backbone.layer{layer}.{block}", x, stride, dilation)
        maps.append(x)
    return maps[0], maps[3]


def residual(state, name, x, stride, dilation):
    wide = {"stride": stride, "dilation": dilation, "padding": dilation}
    bottleneck = f"{name}.conv3.weight" in state
    steps = [{}, wide, {}] if bottleneck else [wide, wide | {"stride": 1}]
    y = x
    for n, how in enumerate(steps, 1):
        y = norm(state, f"{name}.bn{n}", conv(state, f"{name}.conv{n}", y, **how))
        y = y.relu() if n < len(steps) else y
    for short in ("shortcut", "downsample"):
        if f"{name}.{short}.0.weight" in state:
            x = norm(state, f"{name}.{short}.1", conv(state, f"{name}.{short}.0", x, stride=stride))
    return (x + y).relu()


def decode(state, low, deep):
    """At stride 4, before the heads."""
    maps = []
    for branch, rate in enumerate((0, 6, 12, 18), 1):
        name, how = f"aspp.aspp{branch}", {"padding": rate, "dilation": max(rate, 1)}
        maps.append(norm(state, f"{name}.bn", conv(state, f"{name}.atrous_conv", deep, **how)).relu())
    pooled = conv(state, "aspp.global_avg_pool.1", deep.mean((2, 3), keepdim=True)).relu()
    maps.append(resize(pooled, deep.shape[2:]))
    deep = norm(state, "aspp.bn1", conv(state, "aspp.conv1", torch.cat(maps, 1))).relu()
    low = norm(state, "decoder.bn1", conv(state, "decoder.conv1", low)).relu()
    x = torch.cat([resize(deep, low.shape[2:]), low], 1)
    for name in ("decoder.last_conv1", "decoder.last_conv2"):
        x = norm(state, f"{name}.1", conv(state, f"{name}.0", x, padding=1)).relu()
    return conv(state, "decoder.last_conv3", x)


def head(state, name, x):
    return conv(state, f"{name}.2", conv(state, f"{name}.0", x).relu())
