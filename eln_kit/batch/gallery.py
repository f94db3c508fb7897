"""`eln-kit predict`: a folder of images labelled, and a page of those to label next."""

from pathlib import Path

import numpy as np
from PIL import Image

from eln_kit.batch.templating import small, write_page
from eln_kit.data.classes import in_palette
from eln_kit.faults import DataError
from eln_kit.paths import write_picture
from eln_kit.tools import outlines, promise
from eln_kit.tools.label import Labelling
from eln_kit.tools.model import Model, levels_of, load

SHOWN = 24  # images on the page


def label(
    run: Path,
    images: Path,
    out: Path,
    precision: float | None,
    per_class: bool,
    starts: str | None = None,
    first: int = 10,
) -> tuple[list[str], int]:
    """Everything that `eln-kit predict` writes below `out`; gives what to say of it, and how many images are broken.

    `starts`: a kind of `outlines.KINDS`, in which the queue's first images are written for a labelling tool.

    Raises:
        ParamsError, CheckpointError: no run, or stage 2 has not finished.
        DataError: no images, or the precision cannot be promised.
        Fault: `out` cannot be written.
    """
    if per_class and not precision:
        raise DataError("--per-class: is for --precision; give that too")
    images, out = images.resolve(), out.resolve()
    model = load(run)
    levels, words = _levels(model, precision, per_class)
    labelling = Labelling(model, images, out, levels)
    labelling.run()
    rows = labelling.queue()
    shown = [row | entry(labelling, row) for row in rows[:SHOWN]]
    page = write_page(out / "queue.html", "queue.html", "What to label next", rows=shown, count=len(rows))
    if starts:
        words.append(outlines.write(labelling, rows[:first], starts))
    count, broken = len(labelling.accounts), labelling.broken
    words.append(f"{count} images labelled, {labelling.kept_share:.1%} of an image trusted on average")
    if broken:
        words.append(f"{broken} could not be read, as said above")
    if not model.dataset.val:
        words.append(f"{out / 'trusted'}: add images/val and masks/val; the run's own data set is not at hand")
    return [*words, str(page)], broken


def _levels(model: Model, precision: float | None, per_class: bool) -> tuple[np.ndarray | None, list[str]]:
    """From which trust on each class is kept (None: the run's threshold), and what is promised by that."""
    if precision is None:
        return None, []
    counts, groups = promise.held_out(model)
    levels = promise.choose(counts, precision, per_class, groups)
    kept, all_pixels = promise.kept(counts, levels), counts.sum((0, 2, 3))
    share, right = kept.sum() / counts.sum(), kept[..., 1].sum() / max(kept.sum(), 1)
    words = [
        f"kept pixels are right in {precision:g} of an average image, with {promise.CONFIDENCE:.0%} confidence; of "
        f"{len(counts)} labelled images {share:.1%} of the pixels are kept, and {right:.2%} of those are right"
    ]
    if not per_class:
        return levels, [f"{words[0]}; trust from {levels[0] / 255:.3f} on"]
    for name, level, own, total in zip(model.classes, levels, kept.sum((0, 2)), all_pixels, strict=True):
        said = f"from trust {level / 255:.3f} on {own / max(total, 1):.1%} is kept"
        words.append(f"  {name}: {'nothing is kept, as it cannot be promised' if level == promise.NEVER else said}")
    return levels, words


def entry(labelling: Labelling, row: dict) -> dict:
    """What the page says of a row of the queue, whose pictures are written: of the image, and of each region of it."""
    image, mask, trust = labelling.read(row["account"])
    classes, colors = labelling.model.classes, labelling.model.colors
    photograph, prediction = Image.fromarray(image.permute(1, 2, 0).numpy()), in_palette(mask, colors)
    trusted, stem = Image.fromarray(levels_of(trust)), f"queue/{row['rank']:03}"
    for name, picture in (("image", photograph), ("prediction", prediction), ("trust", trusted)):
        write_picture(labelling.out / f"{stem}_{name}.png", small(picture))
    regions = []
    for number, (*box, wrong, other) in enumerate(row["account"]["regions"], start=1):
        crop = around(box, photograph.size)
        for name, picture in (("image", photograph), ("prediction", prediction)):
            write_picture(labelling.out / f"{stem}_{number}_{name}.png", small(picture.crop(crop)))
        place = {"number": number, "box": box, "crop": crop, "class": classes[wrong], "other": classes[other]}
        regions.append(place)
    legend = [(classes[index], "#" + bytes(colors[index]).hex()) for index in np.unique(mask)]
    return {"stem": stem, "size": photograph.size, "regions": regions, "legend": legend}


def around(box: list[int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A region with as much again around it, and at least a fifth of the image: left, top, right, bottom in it.

    Args: box as the region's left, top, right and bottom; size: the image's width and height.
    """
    sides = np.array([box[2] - box[0], box[3] - box[1]])
    wanted = np.minimum(size, max(2 * sides.max(), max(size) // 5))
    start = np.clip(np.array([box[0] + box[2], box[1] + box[3]]) // 2 - wanted // 2, 0, size - wanted)
    left, top, right, bottom = (int(place) for place in (*start, *(start + wanted)))
    return left, top, right, bottom
