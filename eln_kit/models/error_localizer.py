"""ELN, the error localization network: is the prediction right here? (paper, section 3.2)"""

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from eln_kit.models.backbone import nearest_multiple
from eln_kit.models.decoder import conv_norm_relu, head, make_decoder, wants_pyramid
from eln_kit.models.encoder import Encoder
from eln_kit.models.features import evaluating, predicted, upsample
from eln_kit.models.segmenter import Normalize, Segmenter
from eln_kit.params import Model

WEIGHT_MOMENTUM = 0.05  # of the average of the loss's weights: over some twenty steps


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax over classes, in nats: `B C H W` -> `B 1 H W`, 0 to log C."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1, keepdim=True)


def class_logit(logits: Tensor, classes: Tensor) -> Tensor:
    """Logit of one class's softmax in each pixel, log(p / (1 - p)), finite where 1 - p rounds to 0.

    Args: logits float `B C H W`; classes long `B 1 H W`. Returns: `B 1 H W`.
    """
    others = logits.scatter(1, classes, -torch.inf)
    return logits.gather(1, classes) - others.logsumexp(dim=1, keepdim=True)


def confidence_logit(logits: Tensor) -> Tensor:
    """Logit of the max softmax: `B C H W` -> `B 1 H W`."""
    return class_logit(logits, predicted(logits)[:, None])


class ErrorLocalizer(nn.Module):
    """Judges a prediction pixel by pixel.

    Takes the image (float `B 3 H W` in 0..1) and the logits of a prediction for it (`B C h w`, any size); both are
    detached, and the encoder sees image, entropy and logits at image size. Gives one logit per pixel, `B 1 H W`: how
    sure it is that the prediction is right.

    In training the logit is what the loss sees. There a wrong pixel weighs `w`, so the sigmoid q is no probability:
    where it is right, the odds of a right pixel are `w q / (1 - q)`. In evaluation mode the logit is calibrated:
    `slope * (logit + log w) + offset`. `log_weight` follows the weights in training; slope and offset are fitted on
    images held out of training (`evaluation.calibration`), and are 1 and 0 where there are none. The map is increasing,
    so it changes no ranking.

    With `model.eln_scales`, which the paper does not have, ELN gets further views: the segmenter predicts the mirrored
    image at those scales, and ELN also sees the probability that each of these predictions gives to the judged class.

    Three forms: `published` is the network alone. `residual` adds it to `scale * confidence_logit + shift`, and the
    same for each further view. Its last layer is initialised at zero, so that it starts as the mean of these baselines
    and learns the correction. `features` is residual too, but a few convolutions on the segmenter's decoded features
    take the network's place: no second encoder, and the image itself is not seen.
    """

    def __init__(self, model: Model, classes: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.normalize = Normalize(mean, std)
        said, channels = 1 + classes + len(model.eln_scales), model.decoder_channels
        self.on_features = model.eln_form == "features"
        if self.on_features:
            self.encoder: nn.Module = nn.Identity()
            convolutions = conv_norm_relu(channels + said, channels, 3), conv_norm_relu(channels, channels, 3)
            self.decoder: nn.Module = nn.Sequential(*convolutions)
        else:
            self.encoder = Encoder(
                model.eln_encoder, model.eln_weights, 3 + said, model.eln_dilations, wants_pyramid(model)
            )
            self.decoder = make_decoder(model, self.encoder.channels, aspp_dropout=0.5)
        self.judge = head(channels, 1)
        self.scales = model.eln_scales
        self.log_weight: Tensor
        self.register_buffer("log_weight", torch.zeros(()))
        self.slope: Tensor
        self.register_buffer("slope", torch.ones(()))
        self.offset: Tensor
        self.register_buffer("offset", torch.zeros(()))
        self.residual = model.eln_form != "published"
        if self.residual:
            for parameter in self.judge[-1].parameters():
                nn.init.zeros_(parameter)
            share = 1 / (1 + len(self.scales))
            self.scale = nn.Parameter(torch.tensor(share))
            self.look_scales = nn.ParameterList(torch.tensor(share) for _ in self.scales)
            self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, logits: Tensor, looks: Sequence[Tensor] = ()) -> Tensor:
        """`looks` are what `further` gives."""
        size = image.shape[2:]
        features, looks = (looks[0], looks[1:]) if self.on_features else (None, looks)
        logits = upsample(logits.detach().float(), size)
        classes = predicted(logits)[:, None]
        again = [class_logit(upsample(look.float(), size), classes) for look in looks]
        said = torch.cat([entropy(logits), logits, *again], dim=1)
        if features is not None:
            seen = torch.cat([features.detach(), upsample(said, features.shape[2:])], dim=1)
        else:
            seen = self.encoder(torch.cat([self.normalize(image.detach()), said], dim=1))
        judged = upsample(self.judge(self.decoder(seen)), size)
        if self.residual:
            judged = judged + self.scale * class_logit(logits, classes) + self.shift
            judged = judged + sum(scale * look for scale, look in zip(self.look_scales, again, strict=True))
        return judged if self.training else self.slope * (judged + self.log_weight) + self.offset

    @torch.no_grad()
    def follow_weight(self, weight: Tensor) -> None:
        """Move `log_weight` towards that of the main decoder's wrong pixels in one training step."""
        self.log_weight.lerp_(weight.log(), WEIGHT_MOMENTUM)

    def uncalibrated(self, judged: Tensor) -> Tensor:
        """The logits as the loss has shaped them, from those of evaluation mode."""
        return (judged - self.offset) / self.slope - self.log_weight

    @torch.no_grad()
    def look_again(self, segmenter: Segmenter, image: Tensor) -> list[Tensor]:
        """What `further` gives, with the segmenter in evaluation mode."""
        with evaluating(segmenter) as judged:
            return self.further(judged, image)

    def further(self, segmenter: Segmenter, image: Tensor) -> list[Tensor]:
        """What else ELN sees of the segmenter: in the form `features` its decoded features, `B c h w`, and in any form
        its class logits for the further views, `B C h w` each.
        """
        features = [segmenter.decoded(image)] if self.on_features else []
        return features + further_views(segmenter, image, self.scales)

    @torch.no_grad()
    def judge_prediction(self, segmenter: Segmenter, image: Tensor, logits: Tensor) -> Tensor:
        """In evaluation mode: is the segmenter's prediction of the image right? `B 1 H W`, logits."""
        with evaluating(self):
            return self(image, logits, self.look_again(segmenter, image))


def mirrored(image: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """The mirrored image at each scale; what is found in it has to be mirrored back."""
    ratios = [Fraction(scale).limit_denominator(1000).as_integer_ratio() for scale in scales]
    sizes = [[nearest_multiple(side * up, down) // down for side in image.shape[2:]] for up, down in ratios]
    return [upsample(image.flip(3), size) for size in sizes]


def further_views(segmenter: Segmenter, image: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """The segmenter's class logits for the mirrored image at each scale, mirrored back: `B C h w` each."""
    return [segmenter(view).logits.flip(3) for view in mirrored(image, scales)]


def mean_class_logit(logits: Tensor, looks: Sequence[Tensor]) -> Tensor:
    """The mean over a prediction, `B C H W`, and `further_views` of the predicted class's logit: `B 1 H W`.

    What ELN in its residual forms starts from, and so what it has to beat at the same cost.
    """
    classes = predicted(logits)[:, None]
    every = [logits, *(upsample(look.float(), logits.shape[2:]) for look in looks)]
    return torch.stack([class_logit(logits, classes) for logits in every]).mean(0)


def mean_prediction(logits: Tensor, looks: Sequence[Tensor]) -> Tensor:
    """Logarithm of the mean class probabilities of a prediction, `B C H W`, and of `further_views`: `B C H W`."""
    every = [logits, *(upsample(look.float(), logits.shape[2:]) for look in looks)]
    return torch.stack([logits.log_softmax(dim=1) for logits in every]).logsumexp(dim=0) - math.log(len(every))
