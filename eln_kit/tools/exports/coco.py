"""COCO's JSON of polygons and run lengths, as CVAT, Label Studio, Roboflow and Datumaro export it."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eln_kit.data.items import VOID
from eln_kit.faults import DataError
from eln_kit.tools.exports.export import Export, Size, part_of, read_json, size_of, size_said

LOST = "annotations have a part that is no outline (too few or an odd number of values, NaN, far outside), left out"
EMPTY = "annotations have no outline, one far outside, or run lengths of another size, and are left out"


def read_coco(root: Path, export: Export) -> None:
    """All COCO files below `root`, or the one that it is; a file's part is told by its path.

    Raises:
        DataError: pycocotools is not installed, or there is no such file.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise DataError("COCO files are read by pycocotools, which is missing: pip install -e '.[import]'") from None
    read_json(root, {"images", "annotations", "categories"}, "COCO", _read, export)


def _read(file: Path, content: dict, export: Export) -> None:
    part, indices = part_of(file.relative_to(export.root).as_posix()), _indices(content, export)
    by_image: dict = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        name = f"annotation {annotation.get('id')} of {file.name}"
        if annotation["image_id"] not in by_image:
            export.note("no image", "annotations are of images that are not listed, and are left out", name)
        elif not annotation.get("segmentation"):
            export.note("empty", EMPTY, name)
        else:
            by_image[annotation["image_id"]].append(annotation)
            if annotation["category_id"] not in indices:
                export.note("unknown", "annotations are of categories that are not listed, and become void", name)
    for image in content["images"]:
        name, annotations = image["file_name"], by_image[image["id"]]
        bases = (file.parent, file.parent.parent, export.root)
        ending = file.stem.rpartition("_")[2]  # instances_val2017.json is of val2017/
        folders = (ending, f"images/{ending}", part, f"images/{part}", ".", "images")
        place = export.find(name, *(base / folder for base in bases for folder in folders))
        size = size_said(image.get("height"), image.get("width"))
        size = size if all(size) else (place and size_of(place)) or (0, 0)
        draw = partial(_draw, name, size, annotations, indices, export) if annotations else None
        export.add(place, name, part, draw, size)


def _indices(content: dict, export: Export) -> dict:
    """Class of each category's id. A name that only groups other categories, as Roboflow writes one, is none."""
    used = {annotation.get("category_id") for annotation in content["annotations"]}
    groups = {each.get("supercategory") for each in content["categories"] if each.get("supercategory") != each["name"]}
    found = {}
    for category in sorted(content["categories"], key=lambda each: each["id"]):
        if category["name"] in groups and category["id"] not in used:
            export.note("group", "categories only group others, and are left out", category["name"])
        else:
            found[category["id"]] = export.index(category["name"])
    return found


def _draw(of: str, size: Size, annotations: list[dict], indices: dict, export: Export) -> np.ndarray:
    """Crowds lie lowest, then the larger under the smaller, as COCO has no order of its own."""
    from pycocotools import mask as lengths

    drawn = []
    for annotation in annotations:
        name = f"annotation {annotation.get('id')} of {of}"
        encoded: list[dict] = []
        with suppress(ArithmeticError, TypeError, ValueError):  # outlines and run lengths of other things than numbers
            encoded = [each for each in _encoded(annotation["segmentation"], size, name, export) if lengths.area(each)]
        if encoded:
            whole = lengths.merge(encoded)
            index = indices.get(annotation["category_id"], VOID)
            drawn.append((not annotation.get("iscrowd"), -int(lengths.area(whole)), whole, index))
        else:
            export.note("empty", EMPTY, name)
    drawn.sort(key=lambda each: each[:2])
    shapes = ((lengths.decode(whole).astype(bool), index) for *_, whole, index in drawn)
    return export.paint(size, shapes, of)


def _encoded(segmentation: Any, size: Size, name: str, export: Export) -> Iterator[dict]:
    """Run lengths of an annotation's parts."""
    from pycocotools import mask as lengths

    if isinstance(segmentation, dict):
        if segmentation.get("size") == list(size) and isinstance(counts := segmentation.get("counts"), str | list):
            yield segmentation if isinstance(counts, str) else lengths.frPyObjects(segmentation, *size)
        return
    outlines = _outlines(segmentation)
    polygons = [each for each in outlines if len(each) >= 6 and len(each) % 2 == 0 and _near(each, size)]
    if polygons and len(polygons) < len(outlines):
        export.note("lost parts", LOST, name)
    parts = lengths.frPyObjects(polygons, *size) if polygons else []
    inside = lengths.iou(parts, parts, [1] * len(parts)) if len(parts) > 1 else np.zeros((1, 1))
    if (inside - np.eye(len(inside)) > 0.999).any():
        said = "annotations have a polygon inside another of theirs, which is filled: run lengths keep holes"
        export.note("holes", said, name)
    yield from parts


def _outlines(part: list) -> list[list[float]]:
    """Polygons as flat lists of numbers, however deep a tool has nested them."""
    if not part or not isinstance(part[0], list):
        return [part]
    if all(isinstance(point, list) and len(point) == 2 for point in part) and not isinstance(part[0][0], list):
        return [np.ravel(part).tolist()]
    return [outline for inner in part for outline in _outlines(inner)]


def _near(polygon: list[float], size: Size) -> bool:
    """Whether no point lies further than an image's side from the image; drawing such an edge would fill the memory."""
    points, far = np.asarray(polygon, dtype=float), max(size)
    return bool(((points >= -far) & (points <= 2 * far)).all())
