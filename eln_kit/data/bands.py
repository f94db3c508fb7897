"""Three bands of a TIFF that has more, such as those of a satellite or a microscope."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from eln_kit.faults import DataError

ORIENTATION = 274
ORDERS = ("YXS", "SYX", "CYX", "QYX", "IYX", "ZYX")  # bands in each pixel, one plane after the other, or pages


@contextmanager
def _series(path: Path) -> Iterator:
    """The TIFF's first series of pages, with whatever goes wrong in the block as a DataError of one line."""
    try:
        import tifffile
    except ImportError:
        raise DataError("data.bands are read by tifffile, which is missing: pip install -e '.[bands]'") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it tells is raised below
    try:
        with tifffile.TiffFile(path) as file:
            if file.pages.first.tags.valueof(ORIENTATION, 1) != 1:
                raise DataError(f"{path}: is turned by a tag, which data.bands does not follow; save it upright")
            yield file.series[0]
    except DataError:
        raise
    except Exception as error:  # readers of broken files raise many kinds
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read as a TIFF, which data.bands takes each image for ({reason})") from None


def size_of_bands(path: Path) -> tuple[int, int]:
    """Width and height, from the file's header alone."""
    with _series(path) as series:
        sides = dict(zip(series.axes, series.shape, strict=True))
        return sides["X"], sides["Y"]


def read_bands(path: Path, bands: tuple[int, ...]) -> np.ndarray:
    """The bands of these numbers, counted from 1, in this order: uint8 or uint16, `H W 3`.

    Raises:
        DataError: the file is no TIFF, has fewer bands, or holds other numbers than whole ones of 8 or 16 bits.
    """
    with _series(path) as series:
        if series.axes not in ORDERS:
            raise DataError(
                f"{path}: a TIFF of {series.axes} ({series.shape}) has no bands for data.bands to choose of"
            )
        numbers = series.asarray()
    if numbers.dtype == np.int16 and numbers.min() >= 0:
        numbers = numbers.astype(np.uint16)
    numbers = numbers if series.axes == "YXS" else np.moveaxis(numbers, 0, -1)
    if max(bands) > numbers.shape[-1]:
        raise DataError(f"{path}: has {numbers.shape[-1]} bands, and data.bands asks for number {max(bands)}")
    if numbers.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: holds {numbers.dtype} numbers; save it with 8 or 16 bits a band, unsigned")
    return np.ascontiguousarray(numbers[..., [band - 1 for band in bands]])
