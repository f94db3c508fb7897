"""Who tells a segmenter's wrong pixels from its right ones: what a detector is, and those that a run's table has."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from eln_kit.data import DataSet, Item
from eln_kit.evaluation.measures import Ranking, draw_pixels, reliability, separation, with_none
from eln_kit.evaluation.predict import in_windows, predict
from eln_kit.evaluation.segmentation import together, validation_items
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.error_localizer import confidence_logit, mean_class_logit, mean_prediction
from eln_kit.models.features import evaluating, predicted, upsample
from eln_kit.params import Params

BOUND = "ELN taught the truth of the unlabelled images"
MEAN, MEAN_PREDICTION = "mean of the views", "mean of the views as the prediction"
POINTS = 200  # of a precision-recall curve that is kept


@dataclass
class Case:
    """What a detector may look at; passes that several detectors share are made once.

    Attributes:
        image: float `B 3 H W` in 0..1.
        logits: of the judged predictions, float `B C H W`.
        segmenter: who predicted them, in evaluation mode.
        eln: the run's.
        bound: an ELN that was taught the truth of the unlabelled images.
    """

    image: Tensor
    logits: Tensor
    segmenter: Segmenter
    eln: ErrorLocalizer
    bound: ErrorLocalizer | None = None

    @cached_property
    def looks(self) -> list[Tensor]:
        return self.eln.look_again(self.segmenter, self.image)

    @property
    def views(self) -> list[Tensor]:
        """Class logits for ELN's further views, `B C h w` each."""
        return self.looks[self.eln.on_features :]

    @cached_property
    def mean(self) -> Tensor:
        """See `mean_prediction`."""
        return mean_prediction(self.logits, self.views)

    def judged_by(self, eln: ErrorLocalizer | None) -> Tensor:
        assert eln is not None
        with evaluating(eln):
            return eln(self.image, self.logits, self.looks)[:, 0]


class Detector(NamedTuple):
    """How sure it is that a pixel is right, and what is to be known of that.

    Args:
        trust: float `B H W`; the higher, the more likely right.
        is_probability: the sigmoid of the trust is the probability of being right.
        passes: the scale of the image in each of its passes through a network, or through a decoder alone.
        views: ELN's further views are passed too; `encoder`: and ELN's own encoder, where it has one.
        predicts: logits of the prediction that it judges, float `B C H W`, where that is another one.
    """

    trust: Callable[[Any], Tensor]
    is_probability: bool = True
    passes: tuple[float, ...] = (1.0,)
    views: bool = False
    encoder: bool = False
    predicts: Callable[[Any], Tensor] | None = None

    def cost(self, eln: ErrorLocalizer) -> dict:
        """`passes` through an encoder, and the `pixels` in them over the image's."""
        views = eln.scales if self.views else []
        scales = [*self.passes, *views, *([1.0] if self.encoder and not eln.on_features else [])]
        return {"passes": len(scales), "pixels": sum(scale**2 for scale in scales)}


DETECTORS = {
    "ELN": Detector(lambda case: case.judged_by(case.eln), views=True, encoder=True),
    "1 - max softmax": Detector(lambda case: confidence_logit(case.logits)[:, 0]),
    MEAN: Detector(lambda case: mean_class_logit(case.logits, case.views)[:, 0], views=True),
    MEAN_PREDICTION: Detector(
        lambda case: confidence_logit(case.mean)[:, 0], views=True, predicts=lambda case: case.mean
    ),
    BOUND: Detector(lambda case: case.judged_by(case.bound), views=True, encoder=True),
}


def error_detection(
    segmenter: Segmenter, eln: ErrorLocalizer, dataset: DataSet, params: Params, bound: ErrorLocalizer | None = None
) -> list[dict]:
    """How well `DETECTORS` tell the segmenter's wrong pixels from its right ones on the validation images.

    All judge the segmenter's prediction, but for the mean of the views as the prediction, which judges itself by its
    max softmax. Exact, pooled over at most `evaluation.pixels` non-void pixels an image, drawn by a fixed seed. ELN
    keeps what it gives at least `semi_supervised.threshold`; the others keep the same number of pixels, their surest.

    Returns:
        For each detector `name`, `auroc`, `aupr` and `fpr95` with errors as positives (None without an error or a right
        pixel), `error_rate`, `kept_share`, `kept_accuracy` of the surest pixels of that share, `curve` (precision and
        recall of errors), `reliability` (see there), and its cost in `passes` and `pixels`. ELN's has `ece_before`, the
        calibration error of its score before calibration, and `calibrated_on`, a number of held-out images.
    """
    missing = {BOUND: bound is None, MEAN: not eln.scales, MEAN_PREDICTION: not eln.scales}
    chosen = {name: detector for name, detector in DETECTORS.items() if not missing.get(name)}
    case = partial(Case, segmenter=segmenter, eln=eln, bound=bound)
    items, drawn = validation_items(dataset, params), params.evaluation.pixels
    samples = [by_detector for by_detector, *_ in sampled(case, segmenter, chosen, items, drawn, dataset, params)]
    pooled = {name: torch.cat([sample[name] for sample in samples], dim=1) for name in chosen}
    kept_share = (pooled["ELN"][0].sigmoid() >= params.semi_supervised.threshold).double().mean().item()
    rows = [
        {"name": name, **_measured(pooled[name], kept_share), **detector.cost(eln)} for name, detector in chosen.items()
    ]
    judged, right = pooled["ELN"]
    rows[0]["ece_before"] = reliability(eln.uncalibrated(judged.to(eln.slope.device)).sigmoid().cpu(), right > 0)["ece"]
    rows[0]["calibrated_on"] = params.data.held_out if params.error_localization.calibrated else 0
    return rows


def _measured(pooled: Tensor, kept_share: float) -> dict:
    trust, right = pooled
    ranking = Ranking(trust, right == 0)
    return {
        **separation(ranking),
        **with_none({"kept_share": kept_share, "kept_accuracy": ranking.keeping(kept_share)}),
        "curve": ranking.precision_recall(POINTS) if ranking.has_both else None,
        "reliability": reliability(trust.double().sigmoid(), right),
    }


@torch.no_grad()
def sampled(
    case: Callable[..., Case],
    segmenter: Segmenter,
    chosen: dict[str, Detector],
    items: list[Item],
    pixels: int,
    dataset: DataSet,
    params: Params,
) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Detectors on at most so many pixels of each item, in their order.

    Args: case: a `Case` but for images and logits.

    Yields:
        By each detector the pixels' trust and whether what it judges is right (1 or 0), float `2 N`; the mask, `H W`;
        and the pixels' places in the flattened mask, long `N`.
    """
    generator = torch.Generator().manual_seed(0)
    for images, masks in together(items, dataset, params):
        logits = predict(segmenter, images, params.evaluation)
        maps = judgements(case(images.to(logits.device), logits), chosen, masks, params)
        for index, mask in enumerate(masks):
            drawn = draw_pixels(mask, pixels, generator)
            yield {name: values[:, index].flatten(1)[:, drawn] for name, values in maps.items()}, mask, drawn


def judgements(case: Case, chosen: dict[str, Detector], masks: Tensor, params: Params) -> dict[str, Tensor]:
    """By each detector the trust, and whether what it judges is right: float `2 B H W`, of the size of the masks."""
    others = {name: detector.predicts for name, detector in chosen.items() if detector.predicts}

    def maps(window: tuple) -> Tensor:
        part = replace(case, image=case.image[window], logits=case.logits[window])
        trust = [detector.trust(part).float()[:, None] for detector in chosen.values()]
        return torch.cat([*trust, *(predicts(part) for predicts in others.values())], dim=1)

    size = masks.shape[1:]
    trusts = upsample(in_windows(maps, case.image.shape[2:], params.evaluation), size).cpu()
    right = dict.fromkeys(chosen, predicted(upsample(case.logits, size)).cpu() == masks)
    for name, logits in zip(others, trusts[:, len(chosen) :].split(case.logits.shape[1], dim=1), strict=False):
        right[name] = predicted(logits) == masks
    return {name: torch.stack([trusts[:, index], right[name].float()]) for index, name in enumerate(chosen)}
