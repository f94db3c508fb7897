"""How well ELN, and 1 - max softmax beside it, tell a segmenter's errors: the short table of a run."""

import torch
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from eln_kit.data import DataSet
from eln_kit.evaluation.measures import draw_pixels, reliability, separation
from eln_kit.evaluation.predict import judge, predict
from eln_kit.evaluation.segmentation import together, validation_items
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.error_localizer import confidence_logit
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Evaluation, Params

BOUND = "bound: ELN taught the truth of the unlabelled images"
ONE_PASS = "ELN, further views withheld"
POINTS = 200  # of a precision-recall curve that is kept


def error_detection(
    segmenter: Segmenter, eln: ErrorLocalizer, dataset: DataSet, params: Params, bound: ErrorLocalizer | None = None
) -> list[dict]:
    """How well ELN, 1 - max softmax, ELN without its further views where it has some, and perhaps the bound tell the
    segmenter's wrong pixels from its right ones.

    Exact, pooled over at most `evaluation.pixels` non-void pixels an image, drawn by a fixed seed. ELN keeps what it
    gives at least `semi_supervised.threshold`; the max softmax keeps the same number of pixels, its surest.

    Returns:
        For each detector what `measure_detector` gives, with its `name`.
    """
    generator = torch.Generator().manual_seed(0)
    elns, samples = {"ELN": eln} | ({BOUND: bound} if bound else {}), []
    for seen, masks in together(validation_items(dataset, params), dataset, params):
        maps = _right_logits(segmenter, elns, seen, masks.shape[1:], params.evaluation)
        maps["right"] = maps.pop("prediction") == masks
        for place, mask in enumerate(masks):
            drawn = draw_pixels(mask, params.evaluation.pixels, generator)
            samples.append({name: each[place].flatten()[drawn] for name, each in maps.items()})
    pooled = {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}

    names = ["ELN", "1 - max softmax", *(name for name in (ONE_PASS, BOUND) if name in pooled)]
    trusted = (pooled["ELN"].sigmoid() >= params.semi_supervised.threshold).double().mean().item()
    return [measure_detector(name, pooled[name], pooled["right"], trusted) for name in names]


@torch.no_grad()
def _right_logits(segmenter, elns: dict, seen: Tensor, size, knobs: Evaluation) -> dict[str, Tensor]:
    """Logits of being right by each detector and the prediction, all `B H W` at the size of the masks."""
    logits = predict(segmenter, seen, knobs)
    judged = {name: upsample(judge(eln, segmenter, seen, logits, knobs), size)[:, 0] for name, eln in elns.items()}
    if elns["ELN"].scales:
        judged[ONE_PASS] = upsample(judge(elns["ELN"], segmenter, seen, logits, knobs, one_pass=True), size)[:, 0]
    logits = upsample(logits, size)
    maps = judged | {
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
