"""Batches for training, each a function of (seed, step) alone: a resumed run sees what it would have seen."""

import os
from collections.abc import Iterator

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from eln_kit.data.items import DataSet, Item, read_image, read_mask
from eln_kit.data.views import labeled_views, resize, unlabeled_views
from eln_kit.params import Data, Params


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
        epoch, place = divmod(position, self.images)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = np.random.default_rng([self.seed, epoch]).permutation(self.images)
        view_seed = np.random.SeedSequence([self.seed, 1, position]).generate_state(1)[0]
        return int(self.order[place]), int(view_seed)


class TrainingImages(Dataset):
    """Items as views; an index is (item, seed of its views). Decoded images are kept, up to `room` bytes."""

    def __init__(self, items: list[Item], dataset: DataSet, params: Params, labeled: bool, room: int = 0):
        self.items, self.dataset, self.params, self.labeled = items, dataset, params, labeled
        self.kept: dict[int, tuple[torch.Tensor, torch.Tensor | None]] = {}
        self.room = room

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, torch.Tensor]:
        index, seed = draw
        image, mask = self.kept.get(index) or self._read(index)
        make_views = labeled_views if self.labeled else unlabeled_views
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return make_views(image, mask, self.params.views)

    def _read(self, index: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        item = self.items[index]
        mask = None if item.mask is None else read_mask(item, self.dataset)
        decoded = resize(read_image(item), mask, self.params.data.resize)
        self.room -= sum(part.nbytes for part in decoded if part is not None)
        if self.room >= 0:
            self.kept[index] = decoded
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
    """One batch for each step of `steps`, as `eln_kit.stages` describes it."""
    batch = params.data.batch_labeled if labeled else params.data.batch_unlabeled
    seed = 2 * params.run.seed + labeled
    draws = Draws(len(items), batch, seed, steps, process, processes)
    workers = _workers(params.data, processes)
    free = psutil.virtual_memory().available // 4 if params.data.cache == "auto" else 0
    room = free // (processes * max(workers, 1) * 2)  # every loader process keeps its own, and there are two loaders
    images = TrainingImages(items, dataset, params, labeled, room)
    return DataLoader(images, batch_sampler=draws, num_workers=workers, pin_memory=torch.cuda.is_available())


def _workers(data: Data, processes: int) -> int:
    if data.workers != "auto":
        return data.workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores // (2 * processes)) if torch.cuda.is_available() else 0  # two loaders share the cores
