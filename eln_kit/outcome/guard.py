"""Has stage 3 done harm? What a run can see of that without masks of its unlabelled images."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from eln_kit.data import Item, largest_shares, read_image, spread
from eln_kit.evaluation import segmentation
from eln_kit.evaluation.predict import predict, prepare
from eln_kit.faults import CheckpointError
from eln_kit.method.filters import plausible
from eln_kit.models import Segmenter
from eln_kit.models.features import predicted
from eln_kit.store.experiment import Experiment

FILE = "3_semi_supervised/guard.json"
LOOKED_AT, NAMED = 200, 8  # unlabelled images, spread evenly; ids in a sentence
FADED = 0.5  # of the pixels that a class had before stage 3, below which it is named
MORE = 0.05  # implausible images that stage 3 adds, as a share of all, from which it has done harm


def watch(experiment: Experiment, before: Segmenter, after: Segmenter) -> dict:
    """Compare the segmenters before and after stage 3 on unlabelled and, where there are some, held-out images.

    An image is implausible where a class takes a larger share of its prediction than of any labelled crop.

    Returns:
        `images` looked at; `implausible`, ids `before` and `after`; `agreement`, the share of pixels of which both say
        the same; `faded`, the classes that have lost more than half of their pixels, which is no proof of harm, but is
        how rare classes die out; `held_out`, the mIoU `before` and `after`, or None; `harm`; and `kept`, the stage
        whose network `eln_kit.load` and the commands take. Written to `guard.json` in the stage's folder.
    """
    params, dataset = experiment.params, experiment.dataset
    largest = largest_shares(experiment.labeled, dataset, params)
    items = spread(experiment.split.unlabeled, LOOKED_AT)
    odd: dict[str, list[str]] = {"before": [], "after": []}
    same, taken = 0, torch.zeros(2, len(dataset.classes), dtype=torch.long)
    for item in items:
        masks = [_mask(network, item, experiment) for network in (before, after)]
        for ids, mask in zip(odd.values(), masks, strict=True):
            ids += [item.id] * (not plausible(mask, torch.ones_like(mask, dtype=torch.bool), largest).item())
        same += int((masks[0] == masks[1]).sum())
        taken += torch.stack([mask.flatten().bincount(minlength=taken.shape[1]) for mask in masks])
    held_out = None
    if experiment.held_out:
        counts = (segmentation.confusion(n, experiment.held_out, dataset, params).sum(0) for n in (before, after))
        miou = [segmentation.summarize_confusion(confusion, dataset.classes)["miou"] for confusion in counts]
        held_out = dict(zip(odd, miou, strict=True))
    grown = len(odd["after"]) - len(odd["before"]) > MORE * len(items)
    harm = held_out["after"] < held_out["before"] if held_out else grown
    faded = [name for name, (b, a) in zip(dataset.classes, taken.T.tolist(), strict=True) if a < FADED * b]
    agreement = same / max(int(taken[0].sum()), 1)
    account = {"images": len(items), "implausible": odd, "agreement": agreement, "faded": faded, "held_out": held_out}
    kept = "2_error_localization" if harm else "3_semi_supervised"
    return experiment.write(FILE, account | {"harm": harm, "kept": kept})


def sentences(account: dict) -> Iterator[str]:
    """What `watch` has found, in words."""
    before, after = account["implausible"].values()
    if account["images"]:
        named = f": {', '.join(after[:NAMED])}{', ...' * (len(after) > NAMED)}" if after else ""
        yield (
            f"On {account['images']} unlabelled images the networks before and after stage 3 agree on "
            f"{account['agreement']:.1%} of the pixels. A class takes a larger share than in any labelled crop in "
            f"{len(before)} of them before, and in {len(after)} after{named}."
        )
    if account["faded"]:
        faded = ", ".join(account["faded"])
        yield f"Less than half as many pixels as before are called {faded}: look whether they die out."
    if held_out := account["held_out"]:
        yield f"mIoU on the held-out images: {held_out['before']:.1%} before stage 3, {held_out['after']:.1%} after."
    if account["harm"]:
        yield "So stage 3 seems to have done harm: predict, show and export take the network of stage 2."


def kept_stage(folder: Path) -> str:
    """The stage whose network is to be used, where stage 3 has finished: stage 3's, unless it has done harm."""
    file = folder / FILE
    if not file.is_file():
        return "3_semi_supervised"
    try:
        return "2_error_localization" if json.loads(file.read_text())["harm"] else "3_semi_supervised"
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{file}: cannot be read; delete it, and run notebook 3 again") from None


def _mask(network: Segmenter, item: Item, experiment: Experiment) -> Tensor:
    """The predicted classes, long `1 h w`, on the CPU."""
    seen, _ = prepare(read_image(item), None, experiment.params)
    return predicted(predict(network, seen, experiment.params.evaluation)).cpu()
