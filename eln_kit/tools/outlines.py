"""Predictions as polygons to correct in a labelling tool: labelme's JSON beside each image, or one COCO file."""

import json
from collections.abc import Iterator

import numpy as np
import shapely
from contourpy import contour_generator
from scipy import ndimage

from eln_kit.paths import link, write_whole
from eln_kit.tools.exports.export import is_background
from eln_kit.tools.label import Labelling

KINDS = ("labelme", "coco")
FOLDER = "outlines"  # in that of the predictions
TOLERANCE = 0.25  # pixels that simplifying may move an outline; with more of them, touching classes come apart
LEVEL = 0.6  # a tenth of a pixel inside a region's edge, so that tools which draw the outline too add no pixel

Outline = tuple[int, shapely.Polygon]  # class, and the line in pixels from the image's upper left corner


def regions(mask: np.ndarray, ground: bool = True) -> Iterator[Outline]:
    """The outer outlines of a mask's connected regions; the mask is uint8 `H W`.

    Outlines have no holes, as labelme has none: drawn in this order, what lies in another region comes after it.
    With `ground` class 0 is what no outline covers, so that its regions at the image's border have none.
    """
    found = []
    for index in np.unique(mask):
        parts, _ = ndimage.label(mask == index)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            borders = (side.start == 0 or side.stop == end for side, end in zip(box, mask.shape, strict=True))
            if index or not (ground and any(borders)):
                filled = np.pad(ndimage.binary_fill_holes(parts[box] == number), 1).astype(float)
                line = np.array(contour_generator(z=filled).lines(LEVEL)[0])  # the only one
                outline = shapely.Polygon(line + np.array([box[1].start, box[0].start]) - 0.5)
                found.append((filled.sum(), int(index), shapely.simplify(outline, TOLERANCE)))
    for _, index, outline in sorted(found, key=lambda each: -each[0]):
        yield index, outline


def write(labelling: Labelling, rows: list[dict], kind: str) -> str:
    """Outlines of the images in rows of the queue, with links to the images, in `outlines/`; what to say of them.

    Files that are there may hold corrections, and stay as they are.
    """
    folder, files, images = labelling.out / FOLDER, {}, []
    names = labelling.model.classes
    for row in rows:
        item = labelling.items_by_id[row["account"]["id"]]
        image = folder / f"{item.id}{item.image.suffix}"
        link(item.image, image)
        _, mask, _ = labelling.read(row["account"])
        outlines = list(regions(mask, ground=is_background(names[0])))
        images.append((image.relative_to(folder).as_posix(), mask.shape, outlines))
        files[folder / f"{item.id}.json"] = _labelme(image.name, mask.shape, outlines, names)
    if kind == "coco":
        files = {folder / "coco.json": _coco(images, names)}
    kept = [file for file in files if file.exists()]
    for file in files.keys() - kept:
        write_whole(file, json.dumps(files[file]))
    said = f"{folder}: predictions of {len(images)} images as polygons, simplified by {TOLERANCE} pixels at most"
    return f"{said}; {len(kept)} files were there, and are left as they were" if kept else said


def _labelme(image: str, size: tuple[int, ...], outlines: list[Outline], names: list[str]) -> dict:
    blank: dict = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}}
    shapes = [{"label": names[index], "points": _points(line)} | blank for index, line in outlines]
    known = {"imagePath": image, "imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
    return {"version": "5.5.0", "flags": {}, "shapes": shapes, **known}


def _coco(images: list[tuple[str, tuple[int, ...], list[Outline]]], names: list[str]) -> dict:
    """COCO has no order: what is smaller lies on top, as it does here."""
    listed, annotations = [], list[dict]()
    for number, (name, (height, width), outlines) in enumerate(images, start=1):
        listed.append({"id": number, "file_name": name, "height": height, "width": width})
        for index, line in outlines:
            left, top, right, bottom = line.bounds
            place = {"bbox": [left, top, right - left, bottom - top], "area": line.area, "iscrowd": 0}
            known = {"id": len(annotations) + 1, "image_id": number, "category_id": index + 1}
            annotations.append(known | {"segmentation": [np.ravel(_points(line)).tolist()]} | place)
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": listed, "annotations": annotations, "categories": categories}


def _points(line: shapely.Polygon) -> list[list[float]]:
    return np.round(line.exterior.coords[:-1], 2).tolist()
