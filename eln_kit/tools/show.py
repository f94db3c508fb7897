"""Pictures of a run's networks on any image: prediction, ELN's map and mask, and what the mask leaves."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from eln_kit import figures
from eln_kit.data import VOID, Item, as_read, read_mask
from eln_kit.data.classes import in_palette
from eln_kit.data.pictures import IMAGE_SUFFIXES, MASK_SUFFIXES
from eln_kit.faults import DataError
from eln_kit.paths import writing
from eln_kit.tools.exports.export import images_below
from eln_kit.tools.model import Found, levels_of, load

SHEET = "sheet.png"


def show(run: Path, images: Path, masks: Path | None, out: Path, knobs: Sequence[str] = ()) -> Iterator[Path]:
    """Write a folder of PNGs for each image, and give the folder; the run's params are changed by `knobs`.

    Prediction, truth and filtered prediction are palette images: the data set's colours to look at, class indices
    to read. Works without the data set; its masks' values are then class indices.

    Raises:
        ParamsError, CheckpointError: no run, or stage 2 has not finished.
        DataError: an image or mask cannot be read.
        Fault: `out` cannot be written.
    """
    items = _items(images, masks, out)
    model = load(run, knobs)
    items = as_read(items, model.params.data, model.depth)
    model.depth = items[0].depth
    for item in items:
        folder = out / item.id
        truth = None if item.mask is None else read_mask(item, model.dataset)
        found = next(model.each([model.read(item.image)]))
        with writing(folder, "; choose another --out"):
            write_maps(found, truth, folder)
            figures.save(found.show(truth), folder / SHEET)
        yield folder


def _items(images: Path, masks: Path | None, out: Path) -> list[Item]:
    """The image, or a folder's images in order, each with its mask where `masks` has one at that place or so named."""
    items = find_images(images, out) if images.is_dir() else [Item(images.stem, images)]
    if masks is not None and not masks.exists():
        raise DataError(f"{masks}: no such mask or folder of masks")
    if images.is_dir() and masks is not None and not masks.is_dir():
        raise DataError(f"{masks}: one mask cannot be that of every image in {images}; give a folder of masks")
    folder = images if images.is_dir() else images.parent
    return [replace(item, mask=_mask_of(item.image.relative_to(folder), masks)) for item in items]


def find_images(folder: Path, out: Path | None = None) -> list[Item]:
    """The images below a folder, in order, but for hidden ones, a data set's masks, and what lies in `out`.

    An id is the path in the folder without its suffix, or with it where several images have one name.

    Raises:
        DataError: there are none.
    """
    passed_over = {out.resolve()} if out else set()
    passed_over |= {place.resolve() for place in folder.rglob("masks") if (place.parent / "images").is_dir()}
    found = (file for file in images_below(folder) if not passed_over & {*file.resolve().parents})
    files = [file.relative_to(folder) for file in found]
    if not files:
        raise DataError(f"{folder}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    bare, whole = Counter(place.with_suffix("") for place in files), set[Path]()
    for place in sorted(files, key=lambda place: len(place.name)):
        if bare[place.with_suffix("")] > 1 or place.with_suffix("") in whole:  # a.jpg.png, beside a.jpg and a.png
            whole.add(place)
    ids = [place if place in whole else place.with_suffix("") for place in files]
    return [Item(id.as_posix(), folder / place) for id, place in zip(ids, files, strict=True)]


def _mask_of(place: Path, masks: Path | None) -> Path | None:
    if masks is None or masks.is_file():
        return masks
    suffixes = sorted(MASK_SUFFIXES, reverse=True)
    files = (masks / name.with_suffix(suffix) for name in (place, Path(place.name)) for suffix in suffixes)
    return next((file for file in files if file.is_file()), None)


def write_maps(found: Found, truth: Tensor | None, folder: Path) -> None:
    """Pictures of one image: input, truth, prediction, filtered, `eln_map` (255: surely wrong) and mask."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(found.image.permute(1, 2, 0).numpy()).save(folder / "input.png")
    masks = {"prediction": found.mask, "filtered": np.where(found.keep, found.mask, VOID)}
    if truth is not None:
        masks["truth"] = truth.numpy()
    for name, mask in masks.items():
        in_palette(mask, found.colors).save(folder / f"{name}.png")
    Image.fromarray(levels_of(1 - found.trust)).save(folder / "eln_map.png")
    Image.fromarray(found.keep).save(folder / "eln_mask.png")
