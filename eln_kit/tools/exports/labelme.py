"""labelme's JSON, one beside each image: polygons, rectangles, circles and masks."""

import base64
import io
import math
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from eln_kit.data.items import VOID
from eln_kit.tools.exports.export import Export, Size, part_of, read_json, size_of, size_said

AREAS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # the points that a shape has at least


def read_labelme(_root: Path, export: Export) -> None:
    """All of labelme's files below the export's root; classes are in the order of their names.

    Raises:
        DataError: there is none, or one is not as labelme writes it.
    """
    known = len(export.classes)
    read_json(export.root, {"shapes"}, "labelme", _read, export)
    export.classes[known:] = sorted(export.classes[known:])  # before any mask is drawn


def _read(file: Path, content: dict, export: Export) -> None:
    shapes = []
    for shape in content["shapes"]:
        if shape["label"] != "__ignore__":
            export.index(shape["label"])
        kind = shape.get("shape_type") or "polygon"
        if len(shape["points"]) >= AREAS.get(kind, math.inf):
            shapes.append(shape)
        else:
            export.note("no area", "shapes are lines, points or too short, and are left out", f"a {kind} of {file}")
    image = export.find(content["imagePath"], file.parent, export.root)
    if not image and (inside := content.get("imageData")):
        image = export.unpack(content["imagePath"], inside)
    size = size_said(content.get("imageHeight"), content.get("imageWidth"))
    if image and not all(size):
        size = size_of(image) or size
    draw = partial(_draw, size, shapes, str(file), export) if shapes else None
    export.add(image, content["imagePath"], part_of(file.parent.relative_to(export.root).as_posix()), draw, size)


def _draw(size: Size, shapes: list[dict], name: str, export: Export) -> np.ndarray:
    """In the order of the file, as labelme shows them; `__ignore__` is void."""
    indices = [VOID if shape["label"] == "__ignore__" else export.index(shape["label"]) for shape in shapes]
    return export.paint(size, zip((_area(shape, size) for shape in shapes), indices, strict=True), name)


def _area(shape: dict, size: Size) -> np.ndarray:
    canvas = Image.new("1", size[::-1])
    pen, points = ImageDraw.Draw(canvas), [tuple(point) for point in shape["points"]]
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon":
        pen.polygon(points, fill=1, outline=1)
    elif kind == "rectangle":
        (left, right), (top, bottom) = (sorted(pair) for pair in zip(*points[:2], strict=True))
        pen.rectangle((left, top, right, bottom), fill=1)
    elif kind == "circle":
        (x, y), radius = points[0], math.dist(*points[:2])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    else:
        stamp = Image.open(io.BytesIO(base64.b64decode(shape["mask"]))).convert("1")
        canvas.paste(stamp, tuple(round(value) for value in points[0]))
    return np.array(canvas)
