"""Views of a training image: the weak one is zoomed, cropped and flipped; the strong one is recoloured on top.

Loaders make the weak views; the strong ones are made of a batch, where it is trained on.
"""

from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from eln_kit.data.items import VOID
from eln_kit.params import Params, Views

MaybeMask = TypeVar("MaybeMask", bound=Tensor | None)  # a mask for a mask, None for None


class Batch(TypedDict, total=False):
    """What a stage gets in a step: the first two of labelled images, the others of unlabelled ones.

    `data.loaders` makes an image's part of it, `training.feed` the strong views. All stages read `image` and `mask`,
    stage 3 the rest. Only the oracle filter and the measures look at `truth`, which is void where
    nobody labelled the image.
    """

    image: Tensor  # float B 3 H W in 0..1; recoloured with views.labeled: strong
    mask: Tensor  # long B H W
    weak: Tensor  # float B 3 H W in 0..1
    strong: Tensor  # the same, recoloured
    strong_2: Tensor  # another one, where there are two strong views
    valid: Tensor  # bool B H W, False where the crop was padded
    truth: Tensor  # long B H W


def strong_names(params: Params) -> list[str]:
    """Of the strong views in a batch."""
    return ["strong", "strong_2"][: params.semi_supervised.strong_views]


class RandomZoom(v2.Transform):
    """Resizes everything by one factor drawn from `low..high`; images bilinearly, masks to the nearest pixel."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict:
        factor = torch.empty(()).uniform_(self.low, self.high).item()
        return {"size": [max(1, round(side * factor)) for side in v2.query_size(flat_inputs)]}

    def transform(self, inpt: Any, params: dict) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, params["size"], antialias=True)


def weak_view(views: Views) -> v2.Compose:
    """Zoom and crop (or squeeze), and flip, of tv_tensors, the same for image and masks.

    What a crop lacks is void.
    """
    padding = {tv_tensors.Image: 0, tv_tensors.Mask: VOID}
    crop = v2.RandomCrop(views.crop, pad_if_needed=True, fill=padding)
    geometry = [v2.Resize(views.crop, antialias=True)] if views.squeeze else [RandomZoom(*views.scale), crop]
    return v2.Compose([*geometry, v2.RandomHorizontalFlip(views.flip)])


def strong_views(weak: Tensor, seeds: Tensor, views: Views) -> Tensor:
    """Colour jitter, grey and blur of each image as its seed says; nothing moves, so the weak view's labels hold.

    Args: weak float `B 3 h w` in 0..1, on any device; seeds long `B`, on the CPU so that nobody waits for a GPU.
    """
    recolour = v2.Compose(
        [
            v2.ColorJitter(*views.jitter),
            v2.RandomGrayscale(views.grey),
            v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 2.0))], views.blur),
        ]
    )
    strong = torch.empty_like(weak)
    with torch.random.fork_rng(devices=[]):
        for index, (image, seed) in enumerate(zip(weak, seeds.tolist(), strict=True)):
            torch.default_generator.manual_seed(seed)
            strong[index] = recolour(image)
    return strong


def weak_views(image: Tensor, mask: Tensor | None, views: Views) -> tuple[Tensor, Tensor, Tensor]:
    """uint8 `3 H W` and `H W` -> image float `3 h w` in 0..1, mask long `h w` and valid bool `h w`, of the crop's size.

    Without a mask all is void; `valid` is False where the crop was padded.
    """
    inside = torch.zeros(image.shape[1:], dtype=torch.uint8)
    mask = torch.full_like(inside, VOID) if mask is None else mask
    parts = weak_view(views)(tv_tensors.Image(image), tv_tensors.Mask(mask), tv_tensors.Mask(inside))
    image, mask, inside = (part.as_subclass(Tensor) for part in parts)
    return image.float() / 255, mask.long(), inside != VOID


def resize(image: Tensor, mask: MaybeMask, factor: float) -> tuple[Tensor, MaybeMask]:
    """Image uint8 `3 H W` and mask `H W` scaled by `factor`."""
    if factor == 1:
        return image, mask
    size = [max(1, round(side * factor)) for side in image.shape[1:]]
    if mask is not None:
        mask = v2.functional.resize(tv_tensors.Mask(mask), size).as_subclass(Tensor)
    return v2.functional.resize(image, size, antialias=True), mask
