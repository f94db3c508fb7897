"""How common classes are in the labelled images: weights of the loss, and what a plausible crop holds."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torchvision import tv_tensors

from eln_kit.data.items import VOID, DataSet, Item, class_pixels, read_mask
from eln_kit.data.views import resize, weak_view
from eln_kit.params import Params

CROPS = 512  # of all images together, but one of each at least, that shares are read off


def class_weights(items: list[Item], dataset: DataSet) -> torch.Tensor:
    """Float `C` from all masks of labelled items, for `optimizer.class_weights`.

    The square root of median-frequency balancing (Eigen and Fergus, ICCV 2015): `w_c = sqrt(median(f) / f_c)`, where
    f_c is the share of class c in the images that have it. The weights are scaled so that a labelled pixel weighs 1 on
    average, which keeps the scale of the loss; a class that no image has weighs 1.
    """
    with ThreadPoolExecutor() as pool:
        counts = np.stack(list(pool.map(lambda item: class_pixels(item, dataset), items)))
    pixels, around = counts.sum(0), (counts.sum(1, keepdims=True) * (counts > 0)).sum(0)
    weights, there = np.ones(len(pixels)), pixels > 0
    frequencies = pixels[there] / around[there]
    weights[there] = np.sqrt(np.median(frequencies) / frequencies)
    weights[there] *= pixels.sum() / (weights * pixels).sum()
    return torch.from_numpy(weights).float()


def largest_shares(items: list[Item], dataset: DataSet, params: Params) -> torch.Tensor:
    """The largest share that each class takes of a labelled crop's known pixels: float `C`, 0 to 1.

    Read off some `CROPS` weak views, drawn by a fixed seed.
    """
    largest, view = torch.zeros(len(dataset.classes)), weak_view(params.views)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        for item in items:
            mask = read_mask(item, dataset)
            _, mask = resize(mask[None], mask, params.data.resize)
            for _ in range(math.ceil(CROPS / len(items))):
                crop = view(tv_tensors.Mask(mask)).flatten()
                counts = torch.bincount(crop[crop != VOID].long(), minlength=len(largest))
                largest = torch.maximum(largest, counts / counts.sum().clamp(min=1))
    return largest
