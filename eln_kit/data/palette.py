"""Colours for labels."""

import numpy as np
from PIL import Image

from eln_kit.data.items import VOID

VOID_COLOR = (190, 190, 190)
# Paul Tol's "muted" scheme, which colour-blind readers can tell apart; background's pale grey first.
MUTED = np.array(
    [
        [221, 221, 221],
        [204, 102, 119],
        [51, 34, 136],
        [221, 204, 119],
        [17, 119, 51],
        [136, 204, 238],
        [136, 34, 85],
        [68, 170, 153],
        [153, 153, 51],
        [170, 68, 153],
    ],
    dtype=np.uint8,
)


def palette(count: int) -> np.ndarray:
    """`count` different colours, uint8, count x 3; safe for the colour-blind up to ten of them."""
    return MUTED[:count] if count <= len(MUTED) else bit_colors(count)


def bit_colors(count: int) -> np.ndarray:
    """Pascal VOC's colours, uint8, count x 3: bits 0, 1, 2 of an index are the top ones of R, G, B."""
    index = np.arange(count)[:, None] >> np.arange(0, 8, 3)  # count x 3 groups of bits, lowest first
    bits = (index[:, :, None] >> np.arange(3)) & 1  # count x groups x RGB
    return (bits << np.array([7, 6, 5])[:, None]).sum(1).astype(np.uint8)


def in_palette(mask: np.ndarray, colors: np.ndarray) -> Image.Image:
    """A mask `H W` as a palette image: the classes' colours, uint8 `C 3`, to look at, class indices to read."""
    table = np.zeros((VOID + 1, 3), dtype=np.uint8)
    table[: len(colors)], table[VOID] = colors, VOID_COLOR
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(table.ravel().tolist())
    return picture
