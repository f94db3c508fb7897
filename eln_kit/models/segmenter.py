"""The segmenter: encoder, decoder, class head and embedding head; and its auxiliary decoders."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from eln_kit.models.decoder import head, make_decoder, wants_pyramid
from eln_kit.models.encoder import Encoder
from eln_kit.models.features import Features, upsample
from eln_kit.params import Model


class Prediction(NamedTuple):
    """What the segmenter says of a batch, at feature size `h w` (stride 4).

    `logits` float `B C h w`; `embedding` float `B E h w`, not normalised; `features` to share with other decoders.
    """

    logits: Tensor
    embedding: Tensor
    features: Features


class Normalize(nn.Module):
    """Brings images in 0..1, `B 3 H W`, to the mean and deviation that the encoder's weights expect."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std


class Segmenter(nn.Module):
    """Image, float `B 3 H W` in 0..1 -> `Prediction`.

    With `model.freeze_encoder` the encoder stays as its weights came: no gradient, and always in evaluation mode.
    """

    def __init__(self, model: Model, classes: int):
        super().__init__()
        self.encoder = Encoder(
            model.encoder, model.encoder_weights, dilations=model.dilations, pyramid=wants_pyramid(model)
        )
        self.normalize = Normalize(self.encoder.mean, self.encoder.std)
        self.decoder = make_decoder(model, self.encoder.channels)
        self.classify = head(model.decoder_channels, classes)
        self.embed = head(model.decoder_channels, model.embedding_channels)
        self.frozen = model.freeze_encoder
        self.encoder.requires_grad_(not self.frozen).train(not self.frozen)

    def train(self, mode: bool = True) -> "Segmenter":
        super().train(mode)
        self.encoder.train(mode and not self.frozen)
        return self

    def forward(self, image: Tensor, complementary: bool = False) -> Prediction:
        """With `complementary` the batch's halves are two views of the same images: see `complementary_channels`."""
        features = self.encoder(self.normalize(image))
        if complementary:
            features = complementary_channels(features)
        decoded = self.decoder(features)
        return Prediction(self.classify(decoded), self.embed(decoded), features)

    def decoded(self, image: Tensor) -> Tensor:
        """The decoder's features, which the class head reads: `B c h w`."""
        return self.decoder(self.encoder(self.normalize(image)))

    def predict(self, image: Tensor) -> Tensor:
        """Class logits at the image's own size, `B C H W`."""
        return upsample(self(image).logits, image.shape[2:])


class AuxiliaryDecoder(nn.Module):
    """A decoder of its own on the segmenter's features, through which no gradient goes back: -> `B C h w`.

    Noise and dropped channels are further sources of error, so they stay on in evaluation mode.
    """

    def __init__(self, inputs: tuple[int, ...], model: Model, classes: int, noise: float = 0.0, dropout: float = 0.0):
        super().__init__()
        self.decoder = make_decoder(model, inputs)
        self.classify = head(model.decoder_channels, classes)
        self.noise, self.dropout = noise, dropout

    def forward(self, features: Features) -> Tensor:
        seen = Features(perturb(level, self.noise, self.dropout) for level in features.detach())
        return self.classify(self.decoder(seen))


def complementary_channels(features: Features) -> Features:
    """Features of `2B` images, two views of each, in which a view keeps the channels that the other one loses.

    Kept ones are doubled. Half of the images keep all channels in both views, and maps of as many channels, as those of
    a vision transformer are, lose the same ones (UniMatch V2, Yang et al., TPAMI 2025).
    """
    count, device = len(features.low) // 2, features.low.device
    whole = (torch.randperm(count, device=device) < count // 2).view(-1, 1, 1, 1)
    masks = {
        channels: torch.where(whole, 1.0, 2.0 * (torch.rand(count, channels, 1, 1, device=device) < 0.5))
        for channels in dict.fromkeys(maps.shape[1] for maps in features)
    }
    pairs = {channels: torch.cat([mask, 2 - mask]) for channels, mask in masks.items()}
    return Features(maps * pairs[maps.shape[1]] for maps in features)


def perturb(maps: Tensor, noise: float, dropout: float) -> Tensor:
    """Maps `B c h w` with Gaussian noise of `noise` times each channel's deviation, and channels set to zero.

    The channels that stay are scaled up by 1 / (1 - dropout).
    """
    if noise:
        maps = maps + noise * maps.std(dim=(0, 2, 3), correction=0, keepdim=True) * torch.randn_like(maps)
    return F.dropout2d(maps, dropout) if dropout else maps
