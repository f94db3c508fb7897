"""Weights that let rare classes count for more."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from eln_kit.data.items import VOID, DataSet, Item, read_mask


def class_weights(items: list[Item], dataset: DataSet, how: str) -> torch.Tensor | None:
    """Float `C` from all masks of labelled items; `how` is a value of `optimizer.class_weights`, None for "none".

    "median" is median-frequency balancing (Eigen and Fergus, ICCV 2015): `w_c = median(f) / f_c`, where f_c is the
    share of class c in the images that have it. "sqrt" is its square root. The weights are scaled so that a labelled
    pixel weighs 1 on average, which keeps the scale of the loss; a class that no image has weighs 1.
    """
    if how == "none":
        return None
    with ThreadPoolExecutor() as pool:
        counts = np.stack(list(pool.map(lambda item: _count(item, dataset), items)))
    pixels, around = counts.sum(0), (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)
    weights, there = np.ones(len(pixels)), pixels > 0
    frequencies = pixels[there] / around[there]
    weights[there] = (np.median(frequencies) / frequencies) ** (0.5 if how == "sqrt" else 1)
    weights[there] *= pixels.sum() / (weights * pixels).sum()
    return torch.from_numpy(weights).float()


def _count(item: Item, dataset: DataSet) -> np.ndarray:
    return np.bincount(read_mask(item, dataset).numpy().ravel(), minlength=VOID)[: len(dataset.classes)]
