"""ELN, the error localization network: is the prediction right here? (paper, section 3.2)"""

import torch
from torch import Tensor, nn

from eln_kit.models.decoder import Decoder, head
from eln_kit.models.encoder import Encoder
from eln_kit.models.features import upsample
from eln_kit.models.segmenter import Normalize
from eln_kit.params import Model


def entropy(logits: Tensor) -> Tensor:
    """Entropy of the softmax over classes, in nats: `B C H W` -> `B 1 H W`, 0 to log C."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1, keepdim=True)


def confidence_logit(logits: Tensor) -> Tensor:
    """Logit of the max softmax, log(p / (1 - p)): `B C H W` -> `B 1 H W`; finite where 1 - p rounds to 0."""
    top, index = logits.max(dim=1, keepdim=True)
    others = logits.scatter(1, index, -torch.inf)
    return top - others.logsumexp(dim=1, keepdim=True)


class ErrorLocalizer(nn.Module):
    """Judges a prediction pixel by pixel.

    Takes the image (float `B 3 H W` in 0..1) and the logits of a prediction for it (`B C h w`, any size); both are
    detached, and the encoder sees image, entropy and logits at image size. Gives one logit per pixel, `B 1 H W`,
    whose sigmoid is the probability that the prediction is right.

    Two forms: `published` is that network alone. `residual` adds it to `scale * confidence_logit + shift`, with the
    network's last layer starting at zero, so that it begins as the max-softmax baseline and learns the correction.
    """

    def __init__(self, model: Model, classes: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.encoder = Encoder(model.eln_encoder, model.eln_weights, 3 + 1 + classes, model.eln_dilations)
        self.decoder = Decoder(self.encoder.channels, model.decoder_channels, model.atrous_rates, aspp_dropout=0.5)
        self.judge = head(model.decoder_channels, 1)
        self.residual = model.eln_form == "residual"
        if self.residual:
            nn.init.zeros_(self.judge[-1].weight)
            nn.init.zeros_(self.judge[-1].bias)
            self.scale = nn.Parameter(torch.ones(()))
            self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor, logits: Tensor) -> Tensor:
        size = image.shape[2:]
        logits = upsample(logits.detach().float(), size)
        seen = torch.cat([self.normalize(image.detach()), entropy(logits), logits], dim=1)
        judged = upsample(self.judge(self.decoder(self.encoder(seen))), size)
        if self.residual:
            judged = judged + self.scale * confidence_logit(logits) + self.shift
        return judged
