"""Image files as arrays: which page is the picture, how deep its numbers are, and what a mask's pixels hold."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from eln_kit.data.bands import read_bands, size_of_bands
from eln_kit.faults import DataError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
MASK_SUFFIXES = {".png", ".bmp", ".tif", ".tiff", ".gif"}  # without loss
REDUCED_OR_ALPHA = 0b101  # in a TIFF page's NewSubfileType
LARGEST = round(2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6)  # million pixels
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # of half as many
DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors have


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The file at the page that is the picture; whatever goes wrong in the block is a DataError of one line."""
    try:
        with Image.open(path) as file:
            _go_to_picture(file, path)
            _refuse_bands(file, path)
            yield file
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"{path}: has more than {LARGEST} million pixels; cut it into tiles") from None
    except Exception as error:  # readers of broken files raise many kinds
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200]
        is_tiff = path.suffix.lower() in (".tif", ".tiff") and path.is_file()
        bands = ", or set data.bands if it is an image of more than three bands" if is_tiff else ""
        raise DataError(
            f"{path}: cannot be read as an image ({reason}); replace the file, or remove it from the data set{bands}"
        ) from None


def _refuse_bands(file: Image.Image, path: Path) -> None:
    """Of a TIFF with further bands Pillow drops all but the first three or four."""
    tags = getattr(file, "tag_v2", {})
    bands, extra = tags.get(277, 1), tags.get(338, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    alpha = len(extra) == 1 and extra[0] in (1, 2)
    if file.format == "TIFF" and bands - alpha > (4 if tags.get(262) == 5 else 3):  # photometric 5 is CMYK
        raise DataError(
            f"{path}: has {bands} bands, and three are read; if it is an image, say which: data.bands=[3, 2, 1]"
        )


def _go_to_picture(file: Image.Image, path: Path) -> None:
    """Pass over a JPEG's previews and a TIFF's overviews, which are marked as such or half as large or smaller."""
    frames = getattr(file, "n_frames", 1)
    if frames == 1 or file.format == "MPO":
        return
    pages = []
    for page in range(frames if file.format == "TIFF" else 0):
        file.seek(page)
        pages.append((*file.size, getattr(file, "tag_v2", {}).get(254, 0) & REDUCED_OR_ALPHA))
    widest, highest = (max((page[side] for page in pages), default=0) for side in (0, 1))
    full = [n for n, (w, h, less) in enumerate(pages) if not less and (2 * w > widest or 2 * h > highest)]
    if len(full) != 1:
        bands = ", or set data.bands if it is an image of several bands" if file.format == "TIFF" else ""
        raise DataError(f"{path}: holds {frames} frames or pages; save the one that is meant by itself{bands}")
    file.seek(full[0])


def upright_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image, of any number of bands, from the file's header alone."""
    try:
        with opened(path) as file:  # of a TIFF, Pillow tells the upright size by itself
            sideways = file.format != "TIFF" and file.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return file.size[::-1] if sideways else file.size
    except DataError as error:
        with suppress(DataError):
            return size_of_bands(path)
        raise error


def is_turned(path: Path) -> bool:
    """Whether an EXIF tag turns or mirrors the picture, by the file's header alone."""
    with opened(path) as file:
        return file.getexif().get(ExifTags.Base.Orientation, 1) > 1


def read_numbers(path: Path, bands: tuple[int, ...] = ()) -> tuple[np.ndarray, bool]:
    """The upright image's numbers without alpha, `H W` or `H W 3`, and whether a channel has 16 bits in the file.

    Of 16-bit colour Pillow reads the upper 8 bits alone, so that is uint8; with `bands` all 16 are read.
    """
    if bands:
        numbers = read_bands(path, bands)
        return numbers, numbers.dtype == np.uint16
    with opened(path) as file:
        deep = _is_deep(file)  # what tells it is gone once the file is read
        return _numbers(ImageOps.exif_transpose(file), path), deep


def _numbers(picture: Image.Image, path: Path) -> np.ndarray:
    if picture.mode == "F":
        raise DataError(f"{path}: holds floating-point numbers; save it as an 8-bit image")
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.int32)
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB"))


def brightest_in(path: Path, bands: tuple[int, ...] = ()) -> int:
    """The largest number in an image of 16 bits a channel; 0 for one of 8 (without `bands` by its header alone)."""
    if not bands:
        with opened(path) as file:
            if not _is_deep(file):
                return 0
    return brightest(*read_numbers(path, bands))


def brightest(numbers: np.ndarray, deep: bool) -> int:
    """The largest number in an image of 16 bits a channel, of colour to the upper 8 bits; 0 in one of 8 bits."""
    return int(numbers.max()) * (257 if numbers.dtype == np.uint8 else 1) if deep else 0


def _is_deep(file: Image.Image) -> bool:
    return file.mode.startswith("I") or any(";16" in str(tile.args) for tile in getattr(file, "tile", []))


def rgb(path: Path, numbers: np.ndarray, deep: bool, depth: int) -> np.ndarray:
    """uint8 `H W 3` of what `read_numbers` gives: grey is repeated, and numbers of `depth` bits are scaled to 8."""
    if numbers.dtype != np.uint8:
        least, most, white = int(numbers.min()), int(numbers.max()), 2**depth - 1
        if least < 0 or most > white:
            raise DataError(
                f"{path}: values {least} to {most}, beyond {depth} bits; "
                f"{'save it with 16 bits' if least < 0 or most > 65535 else 'raise data.depth'}"
            )
        numbers = (numbers.astype(np.int32) * 255 // white).astype(np.uint8)
    elif deep and depth < 16:
        raise DataError(
            f"{path}: 16-bit colour that uses {depth} bits cannot be scaled; save it as an 8-bit image, or set "
            "data.depth=16"
        )
    return np.repeat(numbers[..., None], 3, axis=2) if numbers.ndim == 2 else numbers.copy()


def read_values(path: Path) -> np.ndarray:
    """A mask's values as uint8 `H W`: of a palette its indices, of colour with three equal channels one of them."""
    mask, mode = _pixels(path)
    if mask.dtype.kind == "f" and not (mask == mask.round()).all():
        raise DataError(f"{path}: holds fractions or NaN; save class indices, which are whole numbers")
    if mode in ("LA", "PA", "RGBA", "CMYK") and np.ptp(mask[..., -1]) and not np.ptp(mask[..., :-1], axis=(0, 1)).any():
        channel = "black (K)" if mode == "CMYK" else "alpha"
        raise DataError(f"{path}: only its {channel} channel says anything; save the mask as grey values or a palette")
    if mask.ndim == 3 and (mode == "LA" or (mask[..., :3] == mask[..., :1]).all()):
        mask = mask[..., 0]
    if mask.ndim != 2:
        colors = np.unique(mask.reshape(-1, mask.shape[2])[:, :3], axis=0)
        more = ", ..." if len(colors) > 8 else ""
        raise DataError(
            f"{path}: a colour image ({mode}); give each class its `color` in dataset.yaml; here are "
            f"{', '.join(map(str, colors[:8].tolist()))}{more}"
        )
    if mode not in ("1", "L", "P") and (mask.min() < 0 or mask.max() > 255):
        raise DataError(f"{path}: values {mask.min()} to {mask.max()}; class indices are 0 to 254, and 255 for void")
    return mask.astype(np.uint8)


def read_colors(path: Path) -> np.ndarray:
    """A mask's colours as uint32 `H W`, packed by `pack`."""
    return pack(_pixels(path, "RGB")[0])


def pack(colors: np.ndarray) -> np.ndarray:
    """`... 3` -> `...`: one uint32 a colour, 0xRRGGBB."""
    red, green, blue = np.moveaxis(np.asarray(colors, dtype=np.uint32), -1, 0)
    return red << 16 | green << 8 | blue


def palette_of(path: Path) -> dict[int, int]:
    """Of a palette picture the packed colour of each index, by its header alone; of others nothing."""
    with opened(path) as file:
        colors = np.array(file.getpalette("RGB") if file.mode == "P" else []).reshape(-1, 3)
    return dict(enumerate(pack(colors).tolist()))


def is_colored(path: Path) -> bool:
    """Whether a mask is stored as colour, by its header alone."""
    with opened(path) as file:
        return file.mode in ("RGB", "RGBA")


def _pixels(path: Path, mode: str | None = None) -> tuple[np.ndarray, str]:
    with opened(path) as file:
        kind, stored, lossy = str(file.format), file.mode, file.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
        if kind == "GIF" and stored == "P" and mode is None:  # which numbers the colours of its palette as it likes
            mask = np.array(file.convert("RGB"))
            mask = mask[..., 0] if (mask == mask[..., :1]).all() else np.array(file)
        else:
            mask = np.array(file.convert(mode) if mode else file)
    if f".{kind.lower()}" not in MASK_SUFFIXES or lossy:
        what = "compressed like a JPEG" if lossy else f"a {kind} by another name"
        raise DataError(f"{path}: is {what}, which blurs class indices; save the mask as PNG")
    return mask, stored
