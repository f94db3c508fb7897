"""What a data set is, and how one image and one mask become tensors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps

from eln_kit.faults import DataError

VOID = 255
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Item:
    """One image; `mask` is None for an image that nobody labelled."""

    id: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class DataSet:
    """Images, masks and what their values mean.

    `colors` is uint8, C x 3. `train` has items with and without masks, `val` only items with masks.
    `mask_values` is a uint8 table of 256 from the value in a file to a class index or 255; None: the values
    are indices already.
    """

    name: str
    classes: list[str]
    colors: np.ndarray
    train: list[Item]
    val: list[Item]
    mask_values: np.ndarray | None = None


def read_image(item: Item) -> torch.Tensor:
    """The image upright as uint8, 3 x H x W, RGB: grey is repeated, 16-bit grey scaled to 8, alpha ignored.

    Raises:
        DataError: the file is missing, broken or holds floating-point numbers.
    """
    try:
        with Image.open(item.image) as file:
            frames = getattr(file, "n_frames", 1)
            image = ImageOps.exif_transpose(file)
            image.load()
    except Exception as error:  # readers of broken files raise many kinds
        raise DataError(_unreadable(item.image, error)) from None
    if frames > 1:
        raise DataError(f"{item.image}: holds {frames} frames or pages; save the one that is meant by itself")
    if image.mode == "F":
        raise DataError(f"{item.image}: holds floating-point numbers; save it as an 8-bit image")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_mask(item: Item, dataset: DataSet) -> torch.Tensor:
    """The mask as uint8, H x W, 0..C-1 or 255 for void; a palette image is read as its indices.

    Raises:
        DataError: the file is missing, broken or in colour, its size is not the image's, or a class index is
            out of range.
    """
    assert item.mask is not None
    mask = read_mask_values(item.mask)
    height, width = mask.shape
    if (width, height) != (size := _image_size(item.image)):
        raise DataError(
            f"{item.mask}: {width} x {height} pixels, but its image {item.image} has {size[0]} x {size[1]}; "
            "save the mask at the image's size"
        )
    if dataset.mask_values is not None:
        mask = dataset.mask_values[mask]
    count = len(dataset.classes)
    wrong = count + np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[count:VOID])
    if wrong.size:
        raise DataError(
            f"{item.mask}: value {', '.join(map(str, wrong[:8]))} is no class; valid are 0 to {count - 1}, "
            f"and {VOID} for void: mend the mask or the list of classes"
        )
    return torch.from_numpy(mask)


def read_mask_values(path: Path) -> np.ndarray:
    """A mask file's raw values as uint8, H x W; raises DataError for what is no one-channel 8-bit image."""
    try:
        with Image.open(path) as file:
            kind, frames, mode, mask = file.format, getattr(file, "n_frames", 1), file.mode, np.array(file)
    except Exception as error:
        raise DataError(_unreadable(path, error)) from None
    if kind != "PNG" or frames > 1:
        what = f"a {kind} by another name" if kind != "PNG" else f"{frames} frames"
        raise DataError(f"{path}: is {what}; save the mask as PNG of one image, which keeps class indices")
    if mask.ndim != 2:
        raise DataError(f"{path}: a colour image ({mode}); save the mask as one channel of class indices")
    if mode not in ("1", "L", "P") and (mask.min() < 0 or mask.max() > VOID):
        raise DataError(f"{path}: values {mask.min()} to {mask.max()}; class indices are 0 to 254, and 255 for void")
    return mask.astype(np.uint8)


def _image_size(path: Path) -> tuple[int, int]:
    """Width and height of the upright image, from the file's header alone."""
    try:
        with Image.open(path) as image:
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if sideways else image.size
    except Exception as error:
        raise DataError(_unreadable(path, error)) from None


def _unreadable(path: Path, error: Exception) -> str:
    reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200]
    return f"{path}: cannot be read as an image ({reason}); replace the file, or remove it from the data set"


def spread(items: list, count: int) -> list:
    """`count` of the items, evenly spread; all when there are fewer."""
    places = torch.linspace(0, len(items) - 1, min(count, len(items))).round().long()
    return [items[place] for place in places]
