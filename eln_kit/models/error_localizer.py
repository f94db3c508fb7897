"""ELN, the error localization network: is the prediction right here? (paper, section 3.2)"""

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from eln_kit.models.backbone import nearest_multiple
from eln_kit.models.decoder import head, make_decoder, wants_pyramid
from eln_kit.models.encoder import Encoder
from eln_kit.models.features import predicted, upsample
from eln_kit.models.modes import evaluating
from eln_kit.models.segmenter import Normalize, Segmenter
from eln_kit.params import Model


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
    detached, and the encoder sees image, entropy and logits at image size. Gives one logit per pixel, `B 1 H W`,
    whose sigmoid is the probability that the prediction is right.

    With `model.eln_scales`, which the paper does not have, ELN gets further views: the segmenter predicts the mirrored
    image at those scales, and ELN also sees the probability that each of these predictions gives to the judged class.

    Two forms: `published` is the network alone. `residual` adds it to `scale * confidence_logit + shift`, and the same
    for each further view. Its last layer is initialised at zero, so that it starts as the mean of these baselines and
    learns the correction.
    """

    def __init__(self, model: Model, classes: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.encoder = Encoder(
            model.eln_encoder,
            model.eln_weights,
            3 + 1 + classes + len(model.eln_scales),
            model.eln_dilations,
            wants_pyramid(model),
        )
        self.decoder = make_decoder(model, self.encoder.channels, aspp_dropout=0.5)
        self.judge = head(model.decoder_channels, 1)
        self.scales = model.eln_scales
        self.residual = model.eln_form == "residual"
        if self.residual:
            for parameter in self.judge[-1].parameters():
                nn.init.zeros_(parameter)
            share = 1 / (1 + len(self.scales))
            self.scale = nn.Parameter(torch.tensor(share))
            self.look_scales = nn.ParameterList(torch.tensor(share) for _ in self.scales)
            self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, logits: Tensor, looks: Sequence[Tensor] = ()) -> Tensor:
        size = image.shape[2:]
        logits = upsample(logits.detach().float(), size)
        classes = predicted(logits)[:, None]
        again = [class_logit(upsample(look.float(), size), classes) for look in looks]
        seen = torch.cat([self.normalize(image.detach()), entropy(logits), logits, *again], dim=1)
        judged = upsample(self.judge(self.decoder(self.encoder(seen))), size)
        if self.residual:
            judged = judged + self.scale * class_logit(logits, classes) + self.shift
            judged = judged + sum(scale * look for scale, look in zip(self.look_scales, again, strict=True))
        return judged

    @torch.no_grad()
    def look_again(self, segmenter: Segmenter, image: Tensor) -> list[Tensor]:
        """The segmenter's class logits for the image's `views`, in evaluation mode: `B C h w` each."""
        with evaluating(segmenter) as judged:
            return [judged(each).logits.flip(3) for each in self.views(image)]

    def views(self, image: Tensor) -> list[Tensor]:
        """The mirrored image at each of `model.eln_scales`; what is found in it has to be mirrored back."""
        ratios = [Fraction(scale).limit_denominator(1000).as_integer_ratio() for scale in self.scales]
        sizes = [[nearest_multiple(side * up, down) // down for side in image.shape[2:]] for up, down in ratios]
        return [upsample(image.flip(3), size) for size in sizes]

    @torch.no_grad()
    def judge_prediction(self, segmenter: Segmenter, image: Tensor, logits: Tensor) -> Tensor:
        """In evaluation mode: is the segmenter's prediction of the image right? `B 1 H W`, logits."""
        with evaluating(self):
            return self(image, logits, self.look_again(segmenter, image))
