"""Measures on validation images at each image's own size: of the segmenter, and of who tells its errors."""

from collections.abc import Iterator
from itertools import groupby, islice

import torch
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve, MulticlassConfusionMatrix

from eln_kit.data import VOID, DataSet, Item, read_image, read_mask
from eln_kit.measures import separation
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.error_localizer import confidence_logit
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Evaluation, Params
from eln_kit.predict import predict, prepare

BINS = 15  # of the reliability diagram
POINTS = 200  # of a precision-recall curve that is kept
TOGETHER = 2**16  # pixels that images may have to be predicted together


def spread(items: list, count: int) -> list:
    """`count` of the items, evenly spread; all when there are fewer."""
    places = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    return [items[place] for place in places]


def validation_items(dataset: DataSet, params: Params) -> list[Item]:
    """The images measured on: `evaluation.images` of them spread evenly, or all."""
    return spread(dataset.val, params.evaluation.images or len(dataset.val))


def segmentation(segmenter: Segmenter, dataset: DataSet, params: Params) -> dict:
    """mIoU and what it is made of, over all validation pixels that are not void; see `summarize_confusion`."""
    counts = confusion(segmenter, validation_items(dataset, params), dataset, params)
    return summarize_confusion(counts, dataset.classes)


def confusion(segmenter: Segmenter, items: list[Item], dataset: DataSet, params: Params) -> Tensor:
    """Pixels of each class by what they were taken for, float64 `C C` on the CPU, truth by row; void is left out."""
    counts = MulticlassConfusionMatrix(len(dataset.classes), ignore_index=VOID)
    for seen, masks in together(items, dataset, params):
        logits = predict(segmenter, seen, params.evaluation)
        counts.update(predicted(upsample(logits, masks.shape[1:])).cpu(), masks.long())
    return counts.confmat.double()


def together(items: list[Item], dataset: DataSet, params: Params) -> Iterator[tuple[Tensor, Tensor]]:
    """Images as the network sees them, float `B 3 h w`, and their masks, uint8 `B H W`, in the order of the items.

    Small neighbours of one size come together: to a network eight cost little more than five.
    """
    pairs = (prepare(read_image(item), read_mask(item, dataset), params) for item in items)
    for (size, _), alike in groupby(pairs, key=lambda pair: (pair[0].shape[2:], pair[1].shape)):
        while part := list(islice(alike, max(1, TOGETHER // size.numel()))):
            images, masks = zip(*part, strict=True)
            yield torch.cat(images), torch.stack(masks)


def summarize_confusion(counts: Tensor, classes: list[str]) -> dict:
    """Measures from counts `C C`, truth by row.

    Returns:
        `miou` (mean IoU over classes present in truth or prediction), `iou` per class (None where absent), `absent`
        class names, `pixel_accuracy`, and `confusion`, the counts.
    """
    right, union = counts.diag(), counts.sum(0) + counts.sum(1) - counts.diag()
    present = union > 0
    iou = right / union.clamp(min=1)
    return {
        "miou": iou[present].mean().item(),
        "iou": [value if there else None for value, there in zip(iou.tolist(), present.tolist(), strict=True)],
        "absent": [name for name, there in zip(classes, present.tolist(), strict=True) if not there],
        "pixel_accuracy": (right.sum() / counts.sum().clamp(min=1)).item(),
        "confusion": counts.long().tolist(),
    }


def error_detection(segmenter: Segmenter, eln: ErrorLocalizer, dataset: DataSet, params: Params) -> list[dict]:
    """How well ELN, and 1 - max softmax, tell the segmenter's wrong pixels from its right ones.

    Exact, pooled over at most `evaluation.pixels` non-void pixels an image, drawn by a fixed seed. ELN keeps what it
    gives at least `semi_supervised.threshold`; the max softmax keeps the same number of pixels, its surest.

    Returns:
        For each detector what `measure_detector` gives, with its `name`.
    """
    generator = torch.Generator().manual_seed(0)
    samples = []
    for seen, masks in together(validation_items(dataset, params), dataset, params):
        maps = _right_logits(segmenter, eln, seen, masks.shape[1:], params.evaluation)
        maps["right"] = maps.pop("prediction") == masks
        for place, mask in enumerate(masks):
            drawn = draw_pixels(mask, params.evaluation.pixels, generator)
            samples.append({name: each[place].flatten()[drawn] for name, each in maps.items()})
    pooled = {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}

    trusted = (pooled["ELN"].sigmoid() >= params.semi_supervised.threshold).double().mean().item()
    return [measure_detector(name, pooled[name], pooled["right"], trusted) for name in ("ELN", "1 - max softmax")]


def draw_pixels(mask: Tensor, at_most: int, generator: torch.Generator) -> Tensor:
    """Places, in the flattened mask, of pixels that are not void."""
    usable = (mask != VOID).flatten().nonzero()[:, 0]
    return usable[torch.randperm(len(usable), generator=generator)[:at_most]]


@torch.no_grad()
def _right_logits(segmenter, eln, seen: Tensor, size, knobs: Evaluation) -> dict[str, Tensor]:
    """Logits of being right by each detector and the prediction, all `B H W` at the size of the masks."""
    logits = predict(segmenter, seen, knobs)
    seen = seen.to(logits.device)
    judged = upsample(eln.judge_prediction(segmenter, seen, logits), size)[:, 0]
    logits = upsample(logits, size)
    maps = {
        "ELN": judged,
        "1 - max softmax": confidence_logit(logits)[:, 0],
        "prediction": predicted(logits),
    }
    return {name: each.cpu() for name, each in maps.items()}


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


def reliability(probability: Tensor, right: Tensor) -> dict:
    """`BINS` equal bins of the probability of being right: mean `confidence`, `accuracy` and `share` in each.

    Empty bins hold None. `ece` is the expected calibration error, the share-weighted |accuracy - confidence|.
    """
    place = (probability * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(place, minlength=BINS).double()
    confidence, accuracy = (
        torch.bincount(place, weights=values.double(), minlength=BINS) / count for values in (probability, right)
    )
    share = count / count.sum()
    return {
        "confidence": _with_none(confidence),
        "accuracy": _with_none(accuracy),
        "share": share.tolist(),
        "ece": (share * (accuracy - confidence).abs()).nansum().item(),
    }


def _with_none(values: Tensor) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]
