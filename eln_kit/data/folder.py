"""Any tree of `images/<train|val>/<id>.<ext>` and `masks/<train|val>/<id>.png`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from eln_kit.data.items import IMAGE_SUFFIXES, VOID, DataSet, Item, read_mask_values
from eln_kit.data.palette import palette
from eln_kit.faults import DataError
from eln_kit.params import Data
from eln_kit.paths import resolve, resolve_shipped


def open_folder(data: Data) -> DataSet:
    return read_folder(resolve(data.root), resolve_shipped(data.classes) if data.classes else None)


def read_folder(root: Path, classes_file: Path | None = None, name: str = "folder") -> DataSet:
    """The tree below `root`; ids may have sub-folders, and a training image without a mask is unlabelled.

    Classes come from `classes_file`, else from `dataset.yaml` in `root`, else from the masks' largest value.

    Raises:
        DataError: names a missing folder, a mask without an image, a validation image without a mask, two
            images of one id, or what is wrong with the classes.
    """
    train, val = _items(root, "train"), _items(root, "val")
    for item in val:
        if item.mask is None:
            raise DataError(f"{item.image}: a validation image needs a mask, masks/val/{item.id}.png below {root}")
    default = root / "dataset.yaml"
    if classes_file or default.is_file():
        classes, colors = read_classes(classes_file or default)
    else:
        classes, colors = _classes_in_masks([item.mask for item in train + val if item.mask], default)
    return DataSet(name, classes, colors, train, val)


def read_classes(file: Path) -> tuple[list[str], np.ndarray]:
    """Names and colours (uint8, C x 3) from YAML: a list `classes` of names or `{name: x, color: [r, g, b]}`.

    Raises:
        DataError: names the file, and the class where one is at fault.
    """
    try:
        content = yaml.load(file.read_text(), yaml.BaseLoader)  # all text, so that a class may be called `no` or `1`
    except FileNotFoundError:
        raise DataError(f"{file}: no such file of classes; mend data.classes") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    entries = content.get("classes") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not 2 <= len(entries) <= VOID:
        raise DataError(f"{file}: should be `classes:` and a list of 2 to {VOID} names")
    entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in entries]
    names = [entry.get("name") for entry in entries]
    for name in names:
        if not isinstance(name, str) or not name or names.count(name) > 1:
            raise DataError(f"{file}: class {name!r} should be a name that no other class has")
    colors = palette(len(names)).copy()
    for index, entry in enumerate(entries):
        if "color" in entry:
            colors[index] = _color(entry["color"], f"{file}: class {names[index]}")
    return names, colors


def _color(values, source: str) -> list[int]:
    message = f"{source}: color should be three whole numbers from 0 to 255, such as [128, 64, 0]"
    try:
        color = [int(value) for value in values]
    except (TypeError, ValueError):
        raise DataError(message) from None
    if len(color) != 3 or not all(0 <= value <= 255 for value in color):
        raise DataError(message)
    return color


def _items(root: Path, split: str) -> list[Item]:
    folder = root / "images" / split
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; data.root should hold images/train and images/val")
    images, masks = _files_by_id(folder), _files_by_id(root / "masks" / split)
    for id, mask in masks.items():
        if mask.suffix.lower() != ".png":
            raise DataError(f"{mask}: save masks as PNG, others may blur class indices")
        if id not in images:
            raise DataError(f"{mask}: has no image {folder / id}; add the image or remove the mask")
    return [Item(id, image, masks.get(id)) for id, image in images.items()]


def _files_by_id(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for file in sorted(_walk(folder, set())):
        place = file.relative_to(folder)
        if file.suffix.lower() not in IMAGE_SUFFIXES or any(part.startswith(".") for part in place.parts):
            continue
        id = place.with_suffix("").as_posix()
        if id in files:
            raise DataError(f"{file}: has the same id as {files[id]}; rename or remove one")
        files[id] = file
    return files


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """All files below; links to folders are followed, each folder once."""
    if not folder.is_dir() or (real := folder.resolve()) in seen:
        return
    seen.add(real)
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, seen)
        else:
            yield entry


def _classes_in_masks(masks: list[Path], default: Path) -> tuple[list[str], np.ndarray]:
    first_with: dict[int, Path] = {}
    for mask in masks:
        for value in np.unique(read_mask_values(mask)):
            first_with.setdefault(int(value), mask)
    first_with.pop(VOID, None)
    largest = max(first_with, default=0)
    if missing := set(range(largest)) - set(first_with):
        raise DataError(
            f"{first_with[largest]}: holds class {largest}, but no mask holds class {min(missing)}; mend it, or list "
            f"the classes in {default}"
        )
    if largest == 0:
        raise DataError(
            f"{default.parent / 'masks'}: no value but 0 and {VOID}, which is void; number the classes from "
            f"0, or list them in {default}"
        )
    return [f"class {index}" for index in range(largest + 1)], palette(largest + 1)
