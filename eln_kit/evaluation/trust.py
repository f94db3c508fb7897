"""How well ELN tells a segmenter's errors, beside what costs less or as much: the short table of a run."""

import torch
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from eln_kit.data import DataSet
from eln_kit.evaluation.measures import draw_pixels, reliability, separation
from eln_kit.evaluation.predict import judge, mean_of_views, predict
from eln_kit.evaluation.segmentation import together, validation_items
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.error_localizer import confidence_logit
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Evaluation, Params

BOUND = "ELN taught the truth of the unlabelled images"
MEAN, MEAN_PREDICTION = "mean of the views", "mean of the views as the prediction"
POINTS = 200  # of a precision-recall curve that is kept


def error_detection(
    segmenter: Segmenter, eln: ErrorLocalizer, dataset: DataSet, params: Params, bound: ErrorLocalizer | None = None
) -> list[dict]:
    """How well ELN, 1 - max softmax and, at ELN's cost, the mean of the same views tell the segmenter's wrong pixels
    from its right ones; perhaps also an ELN that was taught the truth.

    All judge the segmenter's prediction, but for the mean of the views as the prediction, which judges itself by its
    max softmax. Exact, pooled over at most `evaluation.pixels` non-void pixels an image, drawn by a fixed seed. ELN
    keeps what it gives at least `semi_supervised.threshold`; the others keep the same number of pixels, their surest.

    Returns:
        For each detector what `measure_detector` gives, with its `name`, the number of `passes` of an image through an
        encoder, and the `pixels` in them over the image's. ELN's has `ece_before`, the calibration error of its score
        before calibration, and `calibrated_on`, a number of held-out images.
    """
    generator = torch.Generator().manual_seed(0)
    elns, samples = {"ELN": eln} | ({BOUND: bound} if bound else {}), []
    for images, masks in together(validation_items(dataset, params), dataset, params):
        maps = _judged(segmenter, elns, images, masks, params.evaluation)
        for place, mask in enumerate(masks):
            drawn = draw_pixels(mask, params.evaluation.pixels, generator)
            samples.append({name: each[:, place].flatten(1)[:, drawn] for name, each in maps.items()})
    pooled = {name: torch.cat([sample[name] for sample in samples], dim=1) for name in samples[0]}

    kept_share = (pooled["ELN"][0].sigmoid() >= params.semi_supervised.threshold).double().mean().item()
    rows = [
        measure_detector(name, pooled[name][0], pooled[name][1] > 0, kept_share)
        | {"passes": len(seen := passes(name, eln)), "pixels": sum(scale**2 for scale in seen)}
        for name in ("ELN", "1 - max softmax", MEAN, MEAN_PREDICTION, BOUND)
        if name in pooled
    ]
    judged, right = pooled["ELN"]
    rows[0]["ece_before"] = reliability(eln.uncalibrated(judged.to(eln.slope.device)).sigmoid().cpu(), right > 0)["ece"]
    rows[0]["calibrated_on"] = params.data.held_out if params.error_localization.calibrated else 0
    return rows


@torch.no_grad()
def _judged(segmenter, elns: dict, seen: Tensor, masks: Tensor, knobs: Evaluation) -> dict[str, Tensor]:
    """By each detector a prediction's logits of being right, and whether it is: float `2 B H W`."""
    size = masks.shape[1:]
    logits = predict(segmenter, seen, knobs)
    trust = {name: judge(eln, segmenter, seen, logits, knobs) for name, eln in elns.items()}
    scaled = upsample(logits, size)
    trust["1 - max softmax"], predictions = confidence_logit(scaled), {}
    if scales := elns["ELN"].scales:
        trust[MEAN], mean = mean_of_views(segmenter, seen, logits, scales, knobs)
        predictions[MEAN_PREDICTION] = mean = upsample(mean, size)
        trust[MEAN_PREDICTION] = confidence_logit(mean)
    return {
        name: torch.stack(
            [upsample(each, size)[:, 0].cpu(), (predicted(predictions.get(name, scaled)).cpu() == masks).float()]
        )
        for name, each in trust.items()
    }


def passes(name: str, eln: ErrorLocalizer) -> tuple[float, ...]:
    """The scale of the image in each of a detector's passes through an encoder, ELN's own among them."""
    views = () if name == "1 - max softmax" else tuple(eln.scales)
    own = (1.0,) if name in ("ELN", BOUND) and not eln.on_features else ()
    return (1.0, *views, *own)


def measure_detector(name: str, right_logit: Tensor, right: Tensor, kept_share: float) -> dict:
    """Measures of one detector from its logits of being right and the truth, both of the same length.

    Returns:
        `auroc`, `aupr` and `fpr95` with errors as positives (None without an error or a right pixel), `error_rate`,
        `kept_share`, `kept_accuracy` of the surest pixels of that share, `curve` (precision and recall of errors)
        and `reliability` (see `reliability`).
    """
    wrong, wrongness = (~right).long(), (-right_logit.double()).sigmoid()
    kept = right[right_logit.argsort(descending=True, stable=True)[: round(kept_share * len(right))]]
    both = 0 < wrong.sum() < len(wrong)
    return {
        "name": name,
        **separation(wrongness, ~right),
        "kept_share": kept_share,
        "kept_accuracy": kept.double().mean().item() if len(kept) else None,
        "curve": _curve(wrongness, wrong) if both else None,
        "reliability": reliability(1 - wrongness, right),
    }


def _curve(wrongness: Tensor, wrong: Tensor) -> dict:
    precision, recall, _ = BinaryPrecisionRecallCurve()(wrongness, wrong)
    places = torch.linspace(0, len(recall) - 1, POINTS, dtype=torch.float64).long()
    return {"precision": precision[places].tolist(), "recall": recall[places].tolist()}
