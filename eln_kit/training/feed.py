"""The batches of a stage, on the device that trains: loaders joined, strong views made, faults told."""

import sys
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor

from eln_kit.data import Item
from eln_kit.data.extra import weighted
from eln_kit.data.loaders import FAULT, SEED, training_batches
from eln_kit.data.splits import check_unlabeled
from eln_kit.data.views import Batch, strong_names, strong_views
from eln_kit.device import layout
from eln_kit.faults import DataError
from eln_kit.method.stage import Stage
from eln_kit.method.stages import Bound
from eln_kit.params import Params
from eln_kit.store.experiment import Experiment

TOLERATED = 0.01  # share of the images


def batches(stage: Stage, experiment: Experiment, accelerator: Accelerator, first: int) -> Iterator[Batch]:
    """Those of the steps after the first ones; this process's share of each."""
    params, number = experiment.params, accelerator.num_processes
    drawn = _items(stage, experiment)
    steps = range(first, stage.steps)
    loaders = [
        training_batches(items, experiment.dataset, params, labeled, steps, accelerator.process_index, number)
        for items, labeled in drawn
    ]
    faults = [Faults(len({*items})) for items, _ in drawn]
    try:
        for parts in zip(*loaders, strict=True):
            for part, noted in zip(parts, faults, strict=True):
                noted.note(part.pop(FAULT))
            yield _joined(parts, accelerator.device, params)
    except DataError as error:  # from a loader process it comes wrapped in that one's traceback
        raise DataError(str(error).strip().rpartition("DataError: ")[2]) from None
    except (RuntimeError, OSError) as error:
        if "DataLoader worker" not in str(error) and "shared memory" not in str(error):
            raise
        mend = (
            "/dev/shm or the number of open files may be too small: docker's --shm-size, ulimit -n, or data.workers=0 "
            "(docs/trouble.md)"
        )
        raise DataError(f"a loader process died ({' '.join(str(error).split())[:120]}); {mend}") from None


def _items(stage: Stage, experiment: Experiment) -> list[tuple[list[Item], bool]]:
    """The images that batches are drawn from, and whether as labelled ones."""
    labeled = weighted(experiment.labeled, experiment.extra, experiment.params.data.extra_weight)
    if not stage.unlabeled:
        return [(labeled, True)]
    check_unlabeled(experiment.params, experiment.split)
    if isinstance(stage, Bound) and not experiment.bounded:
        raise DataError("evaluation.bound_steps needs masks of unlabelled images, and none has one")
    return [(labeled, True), (experiment.split.unlabeled, False)]


def _joined(parts: tuple[dict[str, Tensor], ...], device: torch.device, params: Params) -> Batch:
    """What the loaders gave, as one batch on the device; strong views are made there."""
    images, (labeled_seeds, *unlabeled_seeds) = layout(params.run), [part.pop(SEED) for part in parts]
    tensors = {name: tensor for part in parts for name, tensor in part.items()}
    for name, tensor in tensors.items():
        order = images if tensor.dim() == 4 else torch.preserve_format
        tensors[name] = tensor.to(device, non_blocking=True, memory_format=order)
    if params.views.labeled == "strong":
        tensors["image"] = strong_views(tensors["image"], labeled_seeds, params.views)
    if "weak" in tensors:
        for number, name in enumerate(strong_names(params)):
            seeds = unlabeled_seeds[0] + number * 2**40  # other draws
            tensors[name] = strong_views(tensors["weak"], seeds, params.views)
    return tensors  # type: ignore[return-value]


class Faults:
    """Files that went bad during training: each is told once, and too many stop it.

    Args: number of images that the batches are drawn from.
    """

    def __init__(self, images: int):
        self.images = images
        self.seen: set[str] = set()

    def note(self, faults: list[str]) -> None:
        """Raises DataError when more than `TOLERATED` of the images were bad."""
        for fault in sorted(set(faults) - self.seen - {""}):
            self.seen.add(fault)
            told = f"{fault} ({len(self.seen)} of {self.images} images went bad"
            if len(self.seen) > TOLERATED * self.images:
                raise DataError(f"{told}, more than {TOLERATED:.0%})")
            print(f"skipped: {told}, others take their place)", file=sys.stderr, flush=True)
