"""Masks that were predicted, as labels beside the real ones."""

import zlib
from dataclasses import replace

from eln_kit.data.folder import UNLABELED
from eln_kit.data.items import DataSet, Item, read_mask
from eln_kit.data.splits import Split
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve


def extra_items(split: Split, data: Data) -> list[Item]:
    """The unlabelled images that have a mask in `data.extra_masks`, with that mask.

    A mask is named as `eln-kit predict` names it: by the image's id; without `unlabeled/` where no other image has that
    name.

    Raises:
        DataError: the folder is not there, or has a mask for none of them.
    """
    if not data.extra_masks:
        return []
    root = resolve(data.extra_masks)
    folder = root / "masks/train" if (root / "masks/train").is_dir() else root
    if not folder.is_dir():
        raise DataError(f"data.extra_masks = {folder}: no such folder of masks")
    masks = {file.relative_to(folder).with_suffix("").as_posix(): file for file in folder.rglob("*.png")}
    ids = {item.id for item in (*split.labeled, *split.unlabeled)}
    names = {item: item.id.removeprefix(f"{UNLABELED}/") for item in split.unlabeled}
    pairs = ((i, masks.get(i.id) or (None if name in ids else masks.get(name))) for i, name in names.items())
    items = [replace(item, mask=mask, indexed=True) for item, mask in pairs if mask]
    if not items:
        raise DataError(
            f"data.extra_masks = {folder}: {_none_fits(sorted(masks), split)}; the images that the masks were made of "
            f"should be training images without a label, such as in images/{UNLABELED}"
        )
    return items


def weighted(labeled: list[Item], extra: list[Item], weight: float) -> list[Item]:
    """Both, to draw from: a labelled image comes 1 / weight times, rounded, as often as one with an extra mask."""
    return labeled * round(1 / weight) + extra if extra else labeled


def checksums(items: list[Item]) -> dict[str, int]:
    """Of the masks, by the image's id."""
    return {item.id: zlib.crc32(item.mask.read_bytes()) for item in items if item.mask}


def check_extra(items: list[Item], dataset: DataSet) -> None:
    """Read every extra mask; raises DataError with a line for each that cannot be used."""
    faults = []
    for item in items:
        try:
            read_mask(item, dataset)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))


def _none_fits(ids: list[str], split: Split) -> str:
    if not ids:
        return "holds no PNG"
    ids_of_images = ", ".join(item.id for item in split.unlabeled[:1]) or "none"
    return f"no mask is named as an unlabelled image is ({ids[0]}, ... against {ids_of_images}, ...)"
