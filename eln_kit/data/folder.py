"""Any tree of `images/<train|val|unlabeled>/<id>.<ext>` and `masks/<train|val>/<id>.png`."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import numpy as np

from eln_kit.data.classes import Classes, palette, read_classes
from eln_kit.data.ids import composed, is_ours
from eln_kit.data.items import VOID, DataSet, Item, spread
from eln_kit.data.pictures import IMAGE_SUFFIXES, MASK_SUFFIXES, is_colored, pack, palette_of, read_colors, read_values
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve, resolve_shipped

UNLABELED = "unlabeled"
SUFFIX = "_mask"  # of a mask's name, where dataset.yaml says nothing
MOST = 30  # classes that nobody has listed
SAMPLE = 16  # masks that tell whether all are in colour


def open_folder(data: Data) -> DataSet:
    return read_folder(resolve(data.root), resolve_shipped(data.classes) if data.classes else None)


def read_folder(root: Path, classes_file: Path | None = None, name: str = "folder") -> DataSet:
    """The tree below `root`; ids may have sub-folders, and a training image without a mask is unlabelled.

    Classes come from `classes_file`, else from `dataset.yaml` in `root`, else from the masks' values.

    Raises:
        DataError: names a missing folder, a mask without an image, a validation image without a mask, two
            images of one id, two masks of one image, or what is wrong with the classes.
    """
    default = root / "dataset.yaml"
    said = read_classes(classes_file or default) if classes_file or default.is_file() else None
    suffix, notes = said.mask_suffix if said else None, []
    train, val = (_items(root, split, suffix) for split in ("train", "val"))
    unlabeled = _files_by_id(root / "images" / UNLABELED, IMAGE_SUFFIXES)
    train += [Item(f"{UNLABELED}/{id}", image) for id, image in unlabeled.items()]
    if twice := [id for id, times in Counter(item.id for item in train).items() if times > 1]:
        raise DataError(f"{root}: images/train/{twice[0]} and images/{twice[0]} have the same id; rename or remove one")
    for item in val:
        if item.mask is None:
            raise DataError(f"{item.image}: a validation image needs a mask, masks/val/{item.id}.png below {root}")
    masks = [item.mask for item in train + val if item.mask]
    classes = said or _classes_in_masks(masks, default)
    in_color = _guess_color(masks, classes) if classes.in_color is None else classes.in_color
    if in_color and classes.in_color is None:
        notes.append(f"masks are in colour and read by colour; `masks: index` in {classes.source} would read values")
    if not said and classes.values:
        notes.append(f"no mask has 0, so the classes are 1 to {len(classes.names)}; {default} may say otherwise")
    table, unused, void_is_said = classes.table(in_color), _unused(root, train + val), classes.void is not None
    return DataSet(
        name, classes.names, classes.colors, train, val, table, void_is_said, tuple(notes), unused, classes.groups
    )


def _items(root: Path, split: str, suffix: str | None) -> list[Item]:
    """Images with the masks that are theirs; `suffix` is what dataset.yaml says of masks' names."""
    folder = root / "images" / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data.root should hold images/train and images/val")
    images = _files_by_id(folder, IMAGE_SUFFIXES)
    masks: dict[str, Path] = {}
    for name, mask in _files_by_id(root / "masks" / split, MASK_SUFFIXES | IMAGE_SUFFIXES).items():
        if suffix and not name.endswith(suffix):
            continue
        if mask.suffix.lower() not in MASK_SUFFIXES:
            raise DataError(f"{mask}: save masks as PNG, others may blur class indices")
        id = _image_of(name, images, suffix)
        if id is None:
            raise DataError(
                f"{mask}: has no image {folder / name}; add the image, remove the mask, or say what masks' names "
                "end in by `mask_suffix` in dataset.yaml"
            )
        if id in masks:
            raise DataError(f"{mask}: is a mask of {images[id]}, as {masks[id]} is; remove one")
        masks[id] = mask
    return [Item(id, image, masks.get(id)) for id, image in images.items()]


def _image_of(name: str, images: dict[str, Path], suffix: str | None) -> str | None:
    """The id of the image that a mask of this name belongs to: `a.png`, `a_mask.png` and `a.jpg.png` are a's."""
    whole, bare = PurePosixPath(name), PurePosixPath(name.removesuffix(suffix or SUFFIX))
    short = bare.with_suffix("") if bare.suffix.lower() in IMAGE_SUFFIXES else bare
    ids = [str(path) for path in ((bare, short) if suffix else (whole, bare, short))]
    return next((id for id in ids if id in images), None)


def _files_by_id(folder: Path, suffixes: set[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(_walk(folder, set())):
        if file.suffix.lower() in suffixes and is_ours(file.relative_to(folder)):
            id = composed(file.relative_to(folder).with_suffix("").as_posix())
            if id in files:
                raise DataError(f"{file}: has the same id as {files[id]}; rename or remove one")
            files[id] = file
    return files


def _unused(root: Path, items: list[Item]) -> tuple[Path, ...]:
    """Files below images/ and masks/ that are no item's, but for hidden ones."""
    used = {file for item in items for file in (item.image, item.mask)}
    seen: set[Path] = set()  # a folder that is linked counts where its items are
    parts = [f"{kind}/{split}" for kind in ("images", "masks") for split in ("train", "val", UNLABELED)]
    files = (file for part in (*parts, "images", "masks") for file in _walk(root / part, seen))
    return tuple(sorted(file for file in files if file not in used and is_ours(file.relative_to(root))))


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """All files below; links to folders are followed, each folder once."""
    if not folder.is_dir() or (real := folder.resolve()) in seen:
        return
    seen.add(real)
    with os.scandir(folder) as entries:  # which knows folders without a look at each file
        for entry in entries:
            if entry.is_dir():
                yield from _walk(folder / entry.name, seen)
            else:
                yield folder / entry.name


def _classes_in_masks(masks: list[Path], default: Path) -> Classes:
    """Classes 0 to the largest value, or 1 to it where no mask has 0."""
    first_with: dict[int, Path] = {}
    for mask in masks:
        for value in np.unique(read_values(mask)):
            first_with.setdefault(int(value), mask)
    has_void = first_with.pop(VOID, None)
    values, largest = sorted(first_with), max(first_with, default=0)
    if len(first_with) > MOST:
        raise DataError(
            f"{first_with[largest]}: the masks hold {len(first_with)} values, more than a person would name (smoothed "
            f"edges? a number an object?); save one value a class, or list the classes in {default}"
        )
    example = ", ".join(f"{{name: .., value: {value}}}" for value in [*values, *[VOID] * bool(has_void)][:4])
    if values == list(range(1, largest + 1)) and largest > 1:
        names = [f"class {value}" for value in values]
        return Classes(default, names, palette(largest), values=[[value] for value in values])
    if largest and (missing := set(range(largest)) - set(values)):
        raise DataError(
            f"{first_with[largest]}: holds class {largest}, but no mask holds class {min(missing)}; fix it, or list "
            f"the classes in {default}: `classes: [{example}]`"
        )
    if largest == 0 and masks:
        raise DataError(
            f"{default.parent / 'masks'}: no value but 0 and {VOID}, which is void; number the classes from "
            f"0, or list them in {default}: `classes: [{example}]`"
        )
    count = max(2, largest + 1)  # without any mask it is told later that there is none
    return Classes(default, [f"class {index}" for index in range(count)], palette(count))


def _guess_color(masks: list[Path], classes: Classes) -> bool:
    """Whether masks are meant by colour: one has colours other than greys, or just those of the classes; or palettes
    give one index the colours of two classes.
    """
    known = set(pack(classes.colors).tolist())
    if classes.has_colors and _palettes_differ(masks, known):
        return True
    for mask in spread(masks, SAMPLE) if classes.has_colors else []:
        try:
            colors = set(np.unique(read_colors(mask)).tolist()) if is_colored(mask) else set()
        except DataError:  # told when every file is read
            continue
        if colors and (colors <= known or any(color != (color & 255) * 0x010101 for color in colors)):
            return True
    return False


def _palettes_differ(masks: list[Path], known: set[int]) -> bool:
    """Whether two of the masks give one index different colours that are known."""
    meant: dict[int, int] = {}
    for mask in masks:
        with suppress(DataError):  # told when every file is read
            for index, color in palette_of(mask).items():
                if color in known and meant.setdefault(index, color) != color:
                    return True
    return False
