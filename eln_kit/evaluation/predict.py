"""Images through a segmenter, as it is evaluated: at which size, in windows or whole, once or in several views."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from eln_kit.data.views import MaybeMask, resize
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.features import upsample
from eln_kit.params import Evaluation, Params


def prepare(image: Tensor, mask: MaybeMask, params: Params) -> tuple[Tensor, MaybeMask]:
    """What the network sees of an image, and the mask that its prediction is measured against.

    The image is scaled by `data.resize` and the mask keeps its size; or with `evaluation.size`, which is how the
    official code evaluates on VOC, both are resized to that.

    Args: image uint8 `3 H W`; mask uint8 `H W`, or None.
    Returns: float `1 3 h w` in 0..1, and the mask.
    """
    if params.evaluation.size:
        image = v2.functional.resize(image, params.evaluation.size, antialias=True)
        if mask is not None:
            mask = v2.functional.resize(tv_tensors.Mask(mask), params.evaluation.size).as_subclass(Tensor)
    else:
        image, _ = resize(image, None, params.data.resize)
    return image[None].float() / 255, mask


@torch.no_grad()
def predict(segmenter: Segmenter, image: Tensor, knobs: Evaluation) -> Tensor:
    """Class logits of images at their size, float `B 3 h w` -> `B C h w`, with the segmenter in evaluation mode.

    With `evaluation.scales` or `flip`, the logarithm of the mean of the views' probabilities.
    """
    segmenter.eval()
    image = image.to(next(segmenter.parameters()).device)
    views = [(scale, flip) for scale in knobs.scales for flip in ([False, True] if knobs.flip else [False])]
    if views == [(1.0, False)]:
        return in_windows(lambda window: segmenter.predict(image[window]), image.shape[2:], knobs)
    probabilities = image.new_zeros(())
    for scale, flip in views:
        view = upsample(image, [max(1, round(side * scale)) for side in image.shape[2:]])
        view = view.flip(3) if flip else view
        logits = in_windows(lambda window, view=view: segmenter.predict(view[window]), view.shape[2:], knobs)  # type: ignore[misc]
        logits = upsample(logits.flip(3) if flip else logits, image.shape[2:])
        probabilities = probabilities + logits.softmax(dim=1)
    return (probabilities / len(views)).clamp(min=torch.finfo(torch.float32).tiny).log()


@torch.no_grad()
def judge(eln: ErrorLocalizer, segmenter: Segmenter, image: Tensor, logits: Tensor, knobs: Evaluation) -> Tensor:
    """ELN's logits of being right, `B 1 H W`, for logits at the image's size, in the same windows as `predict`."""
    image = image.to(logits.device)
    return in_windows(
        lambda window: eln.judge_prediction(segmenter, image[window], logits[window]), image.shape[2:], knobs
    )


def in_windows(function: Callable[[tuple], Tensor], size: Sequence[int], knobs: Evaluation) -> Tensor:
    """The mean over overlapping windows of `function`'s maps `B c h w`; all at once where one window is enough.

    Args:
        function: takes a window as the index of it in `B c H W`.
        size: H and W.
    """
    height, width = size
    high, wide = (min(pair) for pair in zip(knobs.window or (height, width), (height, width), strict=True))
    if (high, wide) == (height, width):
        return function((...,)).float()
    total, count = torch.zeros(()), torch.zeros(height, width)
    for top in _starts(height, high, knobs.overlap):
        for left in _starts(width, wide, knobs.overlap):
            window = (..., slice(top, top + high), slice(left, left + wide))
            maps = function(window).float()
            if total.dim() == 0:
                total, count = maps.new_zeros(*maps.shape[:2], height, width), count.to(maps.device)
            total[window] += maps
            count[window] += 1
    return total.div_(count)


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows of a side begin: neighbours share at least `overlap` of it, and the last ends at the border."""
    step = max(1, int(window * (1 - overlap)))
    count = -(-(length - window) // step) + 1
    return torch.linspace(0, length - window, count).round().int().tolist()
