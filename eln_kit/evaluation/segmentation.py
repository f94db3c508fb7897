"""How well a segmenter does on validation images, measured at each image's own size."""

from collections.abc import Iterator
from itertools import groupby, islice

import numpy as np
import torch
from torch import Tensor

from eln_kit.data import VOID, DataSet, Item, read_image, read_mask, spread
from eln_kit.evaluation.predict import predict, prepare
from eln_kit.models import Segmenter
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Params

TOGETHER = 2**16  # pixels that images may have to be predicted together


def validation_items(dataset: DataSet, params: Params) -> list[Item]:
    """The images measured on: `evaluation.images` of them spread evenly, or all."""
    return spread(dataset.val, params.evaluation.images or len(dataset.val))


def measure(segmenter: Segmenter, dataset: DataSet, params: Params) -> dict:
    """mIoU and what it is made of, over all validation pixels that are not void; see `summarize_confusion`."""
    counts = confusion(segmenter, validation_items(dataset, params), dataset, params)
    return summarize_confusion(counts.sum(0), dataset.classes)


def confusion(segmenter: Segmenter, items: list[Item], dataset: DataSet, params: Params) -> Tensor:
    """Pixels of each class by what they were taken for, in each image: float64 `N C C`, truth by row; void left out."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix  # a second; `show` needs none

    counts, classes = [], len(dataset.classes)
    for seen, masks in together(items, dataset, params):
        logits = predict(segmenter, seen, params.evaluation)
        said = predicted(upsample(logits, masks.shape[1:])).cpu()
        counts += [
            multiclass_confusion_matrix(*pair, classes, ignore_index=VOID)
            for pair in zip(said, masks.long(), strict=True)
        ]
    return torch.stack(counts).double() if counts else torch.zeros(0, classes, classes, dtype=torch.float64)


def resampled(counts: Tensor, groups: list[str], draws: int = 2000) -> Tensor:
    """mIoU of as many data sets drawn anew, group by group, from the images' `confusion`: float64 `draws`.

    Two networks' resamples are of the same data sets, so their differences are paired.
    """
    _, group_of = np.unique(groups, return_inverse=True)
    count = group_of.max() + 1
    drawn = np.random.default_rng(0).multinomial(count, [1 / count] * count, draws)
    total = torch.from_numpy(drawn[:, group_of]).double() @ counts.flatten(1)
    total = total.view(draws, *counts.shape[1:])
    right = total.diagonal(dim1=1, dim2=2)
    union = total.sum(1) + total.sum(2) - right
    return (right / union).nanmean(1)


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
