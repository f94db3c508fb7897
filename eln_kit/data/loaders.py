"""Batches for training, each a function of (seed, step) alone: a resumed run sees what it would have seen."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from eln_kit.data.items import DataSet, Item, read_image, read_mask
from eln_kit.data.views import resize, weak_views
from eln_kit.device import free_memory
from eln_kit.faults import DataError
from eln_kit.params import Data, Params

FAULT = "fault"  # in a batch, beside its tensors
SEED = "seed"  # of the strong views, beside them
RETRY = 0.5  # seconds before a file that cannot be read is tried again


class Draws(Sampler):
    """For each step the images of its batch, and for each image a seed for its views.

    Every image comes once before any comes again. Several processes share a step's images evenly, so that neither
    the images of a step nor their views depend on how many there are.
    """

    def __init__(self, images: int, batch: int, seed: int, steps: range, process: int = 0, processes: int = 1):
        self.images, self.batch, self.seed, self.steps = images, batch, seed, steps
        self.process, self.processes = process, processes
        self.epoch = -1

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            share = self.batch // self.processes
            start = step * self.batch + self.process * share
            yield [self._draw(position) for position in range(start, start + share)]

    def _draw(self, position: int) -> tuple[int, int]:
        epoch, index = divmod(position, self.images)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = np.random.default_rng([self.seed, epoch]).permutation(self.images)
        view_seed = np.random.SeedSequence([self.seed, 1, position]).generate_state(1)[0]
        return int(self.order[index]), int(view_seed)


class TrainingImages(Dataset):
    """Items as views; an index is (item, seed of its views). Decoded images are kept, up to `room` bytes.

    An image that cannot be read gives way to the next one, and the sample's `FAULT` tells why; else it is empty.
    """

    def __init__(self, items: list[Item], dataset: DataSet, params: Params, labeled: bool, room: int = 0):
        self.items, self.dataset, self.params, self.labeled = items, dataset, params, labeled
        self.kept: dict[Item, tuple[torch.Tensor, torch.Tensor | None]] = {}  # an item may come several times
        self.bad: dict[Item, str] = {}
        self.room = room

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, torch.Tensor | str]:
        index, seed = draw
        image, mask, fault = self._good(index)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image, mask, valid = weak_views(image, mask, self.params.views)
        views = {"image": image, "mask": mask} if self.labeled else {"weak": image, "valid": valid, "truth": mask}
        return {**views, FAULT: fault, SEED: torch.tensor(seed + 1)}  # other draws than theirs

    def _good(self, index: int) -> tuple[torch.Tensor, torch.Tensor | None, str]:
        """Image and mask, or those of the next image that can be read, and what is wrong with the first."""
        first, count = self.items[index], len(self.items)
        for item in (self.items[candidate % count] for candidate in range(index, index + count)):
            if item not in self.bad:
                try:
                    return *(self.kept.get(item) or self._read(item)), self.bad.get(first, "")
                except DataError as error:
                    self.bad[item] = str(error)
        raise DataError(self.bad[first])

    def _read(self, item: Item) -> tuple[torch.Tensor, torch.Tensor | None]:
        try:
            return self._decode(item)
        except DataError:  # a network's disk may be away for a moment
            time.sleep(RETRY)
            return self._decode(item)

    def _decode(self, item: Item) -> tuple[torch.Tensor, torch.Tensor | None]:
        mask = None if item.mask is None else read_mask(item, self.dataset)
        decoded = resize(read_image(item), mask, self.params.data.resize)
        self.room -= sum(part.nbytes for part in decoded if part is not None)
        if self.room >= 0:
            self.kept[item] = decoded
        return decoded


def training_batches(
    items: list[Item],
    dataset: DataSet,
    params: Params,
    labeled: bool,
    steps: range,
    process: int = 0,
    processes: int = 1,
) -> DataLoader:
    """For each step of `steps` its `Batch` but for strong views, and beside the tensors `FAULT` and `SEED`."""
    batch = params.data.batch_labeled if labeled else params.data.batch_unlabeled
    seed = 2 * params.run.seed + labeled
    draws = Draws(len(items), batch, seed, steps, process, processes)
    workers = _workers(params.data, processes)
    free = free_memory() // 4 if params.data.cache == "auto" else 0
    room = free // (processes * max(workers, 1) * 2)  # every loader process keeps its own, and there are two loaders
    images = TrainingImages(items, dataset, params, labeled, room)
    pinned = torch.cuda.is_available()
    return DataLoader(
        images, batch_sampler=draws, num_workers=workers, pin_memory=pinned, worker_init_fn=_outlive_signals
    )


def _outlive_signals(_worker: int) -> None:
    """A loader process ends with its parent; a signal that reaches both leaves it to that one, which saves."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _workers(data: Data, processes: int) -> int:
    if data.workers != "auto":
        return data.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // (2 * processes)) if torch.cuda.is_available() else 0  # two loaders share the cores
