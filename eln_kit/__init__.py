"""Semi-supervised semantic segmentation with an error localization network (Kwon and Kwak, CVPR 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from eln_kit.tools.model import Model

__version__ = "0.8.0"


def load(place: str | Path) -> Model:
    """What a run has learnt, as a function of images: an `eln_kit.tools.model.Model`.

    Args:
        place: a run folder whose stage 2 has finished, or a `model.pt2` that `eln-kit export --to torch` wrote.

    Raises:
        ParamsError, CheckpointError: no run, no export, or stage 2 has not finished.

    >>> import eln_kit
    >>> model = eln_kit.load("runs/shapes")
    >>> model.classes[:2]
    ['background', 'disc']
    >>> found = model("photo.png")  # or a PIL image, an array, a tensor, or a list of them
    >>> found.mask.shape, found.mask.dtype  # class indices
    ((40, 56), dtype('uint8'))
    >>> bool(found.trust.min() >= 0 and found.trust.max() <= 1)  # probability that the mask is right, H W
    True
    >>> figure = found.show()
    """
    from importlib import import_module  # torch takes seconds, and the core imports nothing around it

    return import_module("eln_kit.tools.model").load(place)
