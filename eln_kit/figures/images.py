"""Figures that show images, masks, predictions and maps of error. Shapes are in the package's docstring."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eln_kit.figures.grid import MANY, VOID, WRONG, Many, Values, array, entry, grid

IGNORE = 255
PALE = 235
DROPPED = Patch(facecolor="white", edgecolor="0.6", hatch="//////", label="dropped")


def colorize(mask: Values, colors: Values, void: tuple[int, int, int] = VOID) -> np.ndarray:
    """A mask `H W` in its classes' colours, `H W 3` uint8; void pixels in `void`."""
    mask = array(mask)
    picture = np.empty((*mask.shape, 3), np.uint8)
    picture[:] = void
    known = mask != IGNORE
    picture[known] = np.asarray(colors, np.uint8)[mask[known]]
    return picture


def only(index: int | None, colors: Values) -> np.ndarray:
    """The colours with all classes but one pale; None for all as they are."""
    colors = np.asarray(colors)
    return (
        colors if index is None else np.where(np.arange(len(colors))[:, None] == index, colors, PALE).astype(np.uint8)
    )


def contact_sheet(
    images: Many,
    masks: Many,
    classes: Sequence[str],
    colors: Values,
    titles: Sequence[str] = (),
    laid: str = "truth",
) -> Figure:
    """Images and their truths, or other masks by the name in `laid`, laid over them, two pairs a row."""
    titles = titles or [""] * len(images)
    pairs = [
        [(as_picture(image), title), (_overlay(image, mask, colors), laid)]
        for image, mask, title in zip(images, masks, titles, strict=True)
    ]
    return grid(_two_a_row(pairs), class_legend(classes, colors, masks))


def views(weak: Many, strong: Many) -> Figure:
    """Weak views and the strong views of the same images, two pairs a row."""
    pairs = [[(as_picture(a), "weak view"), (as_picture(b), "strong view")] for a, b in zip(weak, strong, strict=True)]
    return grid(_two_a_row(pairs))


def predictions(
    images: Many,
    truths: Many | None,
    predictions: dict[str, Many],
    classes: Sequence[str],
    colors: Values,
    highlight: int | None = None,
) -> Figure:
    """A row an image: image, truth, and each predictor's mask followed by its errors.

    Args:
        truths: masks, or None when nobody knows; the errors are left out then.
        predictions: `{name: masks}`
        highlight: a class to show alone, with the errors that have to do with it; None for all.
    """
    colors, rows = only(highlight, colors), []
    for i, image in enumerate(images):
        row = [(as_picture(image), "image")]
        if truths is not None:
            row.append((colorize(truths[i], colors), _titled("truth", truths[i], classes, highlight)))
        for name, masks in predictions.items():
            row.append((colorize(masks[i], colors), _titled(name, masks[i], classes, highlight)))
            if truths is not None:
                row.append(_errors(image, truths[i], masks[i], classes, highlight))
        rows.append(row)
    shown = [mask for masks in predictions.values() for mask in masks]
    return grid(rows, class_legend(classes, colors, truths, wrong=truths is not None, predictions=shown))


def _titled(name: str, mask: Values, classes: Sequence[str], highlight: int | None) -> str:
    """The name, and that a highlighted class is not there, so that no panel is blank without a word."""
    if highlight is None or (array(mask) == highlight).any():
        return name
    return f"{name}: no {classes[highlight]}"


def _errors(
    image: Values, truth: Values, prediction: Values, classes: Sequence[str], highlight: int | None
) -> tuple[np.ndarray, str]:
    """Error map and share of wrong pixels; of a class, among those that are or are said to be of it."""
    truth, prediction = array(truth), array(prediction)
    if highlight is None:
        return error_map(image, truth, prediction), f"{error_rate(truth, prediction):.1%} wrong"
    there, said = (np.where(mask == IGNORE, IGNORE, mask == highlight) for mask in (truth, prediction))
    either = ((there == 1) | (said == 1)) & (truth != IGNORE) & (prediction != IGNORE)
    name = classes[highlight]
    title = f"{name}: {share_of((there != said)[either]):.1%} wrong" if either.any() else f"no {name} in this image"
    return error_map(image, there, said), title


def errors(
    image: Values,
    truth: Values,
    main: Values,
    auxiliary: Many,
    ratios: Sequence[float],
    eln_maps: Many,
    classes: Sequence[str],
    colors: Values,
) -> Figure:
    """One image, a row a decoder: its prediction, its true errors and where ELN expects them.

    Args:
        image, truth: `3 H W` and `H W`
        main: `H W`, the main decoder's prediction
        auxiliary: K masks `H W`, one an auxiliary decoder
        ratios: K loss ratios
        eln_maps: K+1 maps of wrongness `H W`, the main decoder's first
    """
    names = ["main decoder"] + [f"auxiliary {k}, ratio {ratio:g}" for k, ratio in enumerate(ratios, 1)]
    left = [(as_picture(image), "image"), (colorize(truth, colors), "truth")]
    rows = []
    for name, mask, wrongness in zip(names, [main, *auxiliary], eln_maps, strict=True):
        rate = error_rate(truth, mask)
        rows.append(
            [
                left.pop(0) if left else None,
                (colorize(mask, colors), name),
                (error_map(image, truth, mask), f"true errors: {rate:.1%}"),
                (as_map(wrongness), "ELN: wrong?"),
            ]
        )
    rows += [[panel] for panel in left]
    legend = class_legend(classes, colors, [truth], wrong=True, predictions=[main, *auxiliary])
    return grid(rows, legend, "1 - ELN's trust")


def pseudo_labels(
    images: Many,
    truths: Many | None,
    predictions: Many,
    keeps: Many,
    wrongness: Many,
    classes: Sequence[str],
    colors: Values,
) -> Figure:
    """A row an image: image, teacher's prediction, its wrongness, what is kept, and what of that is wrong.

    Args:
        truths: masks, or None when nobody knows; the last column is left out then. Void pixels do not count.
        predictions, keeps, wrongness: one an image
    """
    rows = []
    for i, image in enumerate(images):
        mask, keep = array(predictions[i]), array(keeps[i]).astype(bool)
        kept = np.where(keep, mask, IGNORE)
        known = np.ones_like(keep) if truths is None else array(truths[i]) != IGNORE
        row = [
            (as_picture(image), "image"),
            (colorize(mask, colors), "teacher"),
            (as_map(wrongness[i]), "ELN: wrong?"),
            (striped(colorize(kept, colors), ~keep), f"{share_of(keep[known]):.0%} kept"),
        ]
        if truths is not None:
            right = 1 - error_rate(truths[i], kept)
            judged = error_map(image, truths[i], mask)
            row.append((striped(judged, ~keep & known), f"{right:.1%} of kept right"))
        rows.append(row)
    legend = class_legend(classes, colors, truths, wrong=truths is not None, predictions=predictions)
    legend.append(DROPPED)
    return grid(rows, legend, "1 - ELN's trust")


def judgement(
    image: Values,
    truth: Values | None,
    prediction: Values,
    wrongness: Values,
    keep: Values,
    classes: Sequence[str],
    colors: Values,
) -> Figure:
    """One image: what was predicted, where ELN expects errors, what it keeps, and what is left of the prediction.

    Args:
        truth: `H W`, or None when nobody knows; the errors are left out then.
        prediction, wrongness, keep: `H W`
    """
    keep = array(keep).astype(bool)
    filtered = np.where(keep, array(prediction), IGNORE)
    mask = np.repeat((255 * keep).astype(np.uint8)[..., None], 3, axis=2)
    top = [(as_picture(image), "image"), (colorize(prediction, colors), "prediction")]
    if truth is not None:
        rate = error_rate(truth, prediction)
        top[1:1] = [(colorize(truth, colors), "truth")]
        top.append((error_map(image, truth, prediction), f"true errors: {rate:.1%}"))
    bottom = [
        (as_map(wrongness), "ELN: wrong?"),
        (mask, f"ELN's mask: {share_of(keep):.0%} kept (white)"),
        (striped(colorize(filtered, colors), ~keep), "filtered prediction"),
    ]
    shown = [prediction] if truth is None else [prediction, truth]
    present = [index for index in np.unique(np.concatenate([array(mask).ravel() for mask in shown])) if index != IGNORE]
    legend = [entry(classes[index], np.asarray(colors)[index]) for index in present]
    if truth is not None:
        legend += [entry("wrong", WRONG), entry("void", VOID)]
    legend.append(DROPPED)
    return grid([top, bottom], legend, "1 - ELN's trust")


def as_picture(image: Values) -> np.ndarray:  # H W 3 uint8
    image = array(image).transpose(1, 2, 0)
    return image if image.dtype == np.uint8 else (image.clip(0, 1) * 255).round().astype(np.uint8)


def striped(picture: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The picture with white and grey stripes where `where` is true: no class is drawn so."""
    rows, columns = np.indices(where.shape)
    width = max(2, min(where.shape) // 40)
    light = (rows + columns) // width % 2 == 0
    picture[where] = np.where(light[where, None], 255, 150)
    return picture


def _overlay(image: Values, mask: Values, colors: Values) -> np.ndarray:
    return (0.4 * as_picture(image) + 0.6 * colorize(mask, colors)).astype(np.uint8)


def error_map(image: Values, truth: Values, prediction: Values) -> np.ndarray:
    """Wrong pixels in vermilion and void ones in grey over the darkened grey image."""
    picture = np.repeat((0.5 * as_picture(image).mean(2, keepdims=True)).astype(np.uint8), 3, axis=2)
    void = (array(truth) == IGNORE) | (array(prediction) == IGNORE)
    picture[void] = VOID
    picture[~void & (array(truth) != array(prediction))] = WRONG
    return picture


def error_rate(truth: Values, prediction: Values) -> float:
    """Share of wrong pixels where neither is void; NaN where all is."""
    truth, prediction = array(truth), array(prediction)
    return share_of((truth != prediction)[(truth != IGNORE) & (prediction != IGNORE)])


def share_of(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def as_map(values: Values) -> np.ndarray:
    return array(values).astype(np.float32)


def _two_a_row(pairs: list[list[tuple]]) -> list[list[tuple]]:
    return [list(chain(*pairs[i : i + 2])) for i in range(0, len(pairs), 2)]


def class_legend(
    classes: Sequence[str], colors: Values, masks: Many | None = None, wrong: bool = False, predictions: Many = ()
) -> list[Patch]:
    """All classes, or of more than `MANY` those that have most pixels; and void where a mask has it."""
    chosen, colors = np.arange(len(classes)), np.asarray(colors)
    if len(classes) > MANY:
        pixels = np.concatenate([array(mask).ravel() for mask in (*(masks or ()), *predictions)])
        counts = np.bincount(pixels[pixels != IGNORE], minlength=len(classes))
        chosen = np.sort(counts.argsort(stable=True)[::-1][: min(MANY, (counts > 0).sum())])
    entries = [entry(classes[int(index)], colors[index]) for index in chosen]
    if wrong:
        entries.append(entry("wrong", WRONG))
    if masks is not None and any((array(mask) == IGNORE).any() for mask in masks):
        entries.append(entry("void", VOID))
    return entries
