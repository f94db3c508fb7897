"""Masks whose colours a `labelmap.txt` names, as CVAT and Datumaro export them in VOC's folders."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from eln_kit.data.ids import names_in, read_ids
from eln_kit.data.items import VOID
from eln_kit.faults import DataError
from eln_kit.paths import text_of
from eln_kit.tools.exports.export import Export, files_below, images_below, part_of, size_of

BORDER = (224, 224, 192)  # of an object, in VOC's masks: void


def read_labelmap(root: Path, export: Export) -> None:
    """`labelmap.txt` and, beside it, JPEGImages, SegmentationClass and lists in ImageSets/Segmentation.

    Raises:
        DataError: one of them is missing or cannot be read.
    """
    file = next(files_below(export.root, "labelmap.txt"), None)
    if file is None:
        raise DataError(f"{root}: holds no labelmap.txt")
    folder = file.parent
    colors = _colors(file, export)
    masks, images = (
        {file.relative_to(place).with_suffix("").as_posix(): file for file in images_below(place)}
        for place in (folder / "SegmentationClass", folder / "JPEGImages")
    )
    if not masks:
        raise DataError(f"{folder / 'SegmentationClass'}: holds no masks; export segmentation masks")
    lists = folder / "ImageSets" / "Segmentation"
    parts = {id: part_of(name) for name in names_in(lists) for id in read_ids(lists / name)}
    for name in dict.fromkeys([*parts, *masks]):
        mask = masks.get(name)
        draw = partial(_read_mask, mask, colors, export) if mask else None
        export.add(images.get(name), name, parts.get(name, "train"), draw, (mask and size_of(mask)) or (0, 0))
    export.add_others(folder / "JPEGImages")


def _colors(file: Path, export: Export) -> dict[tuple[int, ...], int]:
    """Class of each colour, from lines `name:r,g,b:parts:actions`, the first being 0 whatever its name."""
    colors: dict[tuple[int, ...], int] = {BORDER: VOID}
    shown: dict[int, tuple[int, ...]] = {}
    export.classes = export.classes if export.base else []
    try:
        lines = text_of(file).splitlines()
    except ValueError as error:
        raise DataError(f"{file}: cannot be read ({error}); export it again") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            color = tuple(int(value) for value in rest.split(":")[0].split(","))
        except ValueError:
            color = ()
        if len(color) != 3 or not all(0 <= value <= 255 for value in color):
            raise DataError(f"{file}: line {number} should be name:r,g,b:parts:actions, and is {line!r}")
        if color == BORDER:
            continue
        if color in colors:
            raise DataError(f"{file}: line {number} has a colour that another class has; export it again")
        colors[color] = export.index(name.strip())
        shown.setdefault(colors[color], color)
    if not export.base:
        export.colors = np.array(list(shown.values()), dtype=np.uint8)
    return colors


def _read_mask(file: Path, colors: dict[tuple[int, ...], int], export: Export) -> np.ndarray:
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB"))
    found, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    for color in map(tuple, found.tolist()):
        if color not in colors:
            export.note("unknown", "times a mask has a colour that labelmap.txt lacks: void", f"{color} in {file}")
    values = np.array([colors.get(tuple(color), VOID) for color in found.tolist()], dtype=np.uint8)
    return values[places].reshape(pixels.shape[:2])
