"""Figures: data in, `matplotlib.figure.Figure` out.

A figure shows once in a notebook when it is a cell's last value, and `save` writes it as PNG. Arrays may be
NumPy's, or torch tensors on any device. Shapes, all through::

    image       3 H W, float in 0..1 or uint8
    mask        H W, class indices; 255 is void. Truths and predictions are masks.
    keep        H W, bool: is the pseudo-label kept?
    wrongness   H W, float in 0..1: probability that the prediction is wrong
    classes     C names
    colors      C 3, uint8

Images of one call may differ in size. Errors are vermilion on a dark grey image, which colour-blind eyes can
tell apart.
"""

from eln_kit.figures.curves import (
    class_shares,
    confusion,
    error_detection,
    iou_bars,
    loss_curves,
    ratio_curves,
)
from eln_kit.figures.grid import save
from eln_kit.figures.images import (
    colorize,
    contact_sheet,
    error_rate,
    errors,
    judgement,
    predictions,
    pseudo_labels,
    views,
)
from eln_kit.figures.screen import drawn, on_paper, pixel_at

__all__ = [
    "class_shares",
    "colorize",
    "confusion",
    "contact_sheet",
    "drawn",
    "error_detection",
    "error_rate",
    "errors",
    "iou_bars",
    "judgement",
    "loss_curves",
    "on_paper",
    "pixel_at",
    "predictions",
    "pseudo_labels",
    "ratio_curves",
    "save",
    "views",
]
