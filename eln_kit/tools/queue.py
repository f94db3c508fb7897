"""Which images to label next: those with the most expected errors in each class, and no two that are alike."""

import numpy as np
import pandas
from scipy import ndimage

from eln_kit.tools.model import Found

REGIONS = 3
RANKED = 1000  # images; those that come later are in the order in which they stand then
COLUMNS = ["rank", "image", "expected_error", "expected_error_balanced", "rank_unbalanced", "like", "reason"]


def account(found: Found) -> dict:
    """What the queue has to know of an image, as plain values.

    `error` is the mean of 1 - trust; `classes` is, by predicted class, its share of the pixels and the sum of 1 - trust
    over it as a share of the pixels.
    """
    doubt, count = 1 - found.trust.ravel(), len(found.classes)
    pixels, errors = (np.bincount(found.mask.ravel(), w, count) / doubt.size for w in (None, doubt))
    classes = {str(c): [round(float(each[c]), 6) for each in (pixels, errors)] for c in pixels.nonzero()[0]}
    return {"error": round(float(doubt.mean()), 6), "classes": classes, "regions": least_trusted(found)}


def least_trusted(found: Found) -> list[list[int]]:
    """The regions with the most expected errors, of one predicted class and with a trust below 0.5.

    Left, top, right, bottom, class, and what most of its pixels would be next.
    """
    regions = []
    for wrong in np.unique(found.mask):
        parts, count = ndimage.label((found.mask == wrong) & (found.trust < 0.5))
        errors = ndimage.sum_labels(1 - found.trust, parts, range(1, count + 1))
        boxes = ndimage.find_objects(parts)
        for index in errors.argsort()[-REGIONS:]:
            rows, columns = box = boxes[index]
            other = np.bincount(found.second[box][parts[box] == index + 1]).argmax()
            place = (columns.start, rows.start, columns.stop, rows.stop, int(wrong), int(other))
            regions.append((float(errors[index]), place))
    return [list(place) for _, place in sorted(regions, reverse=True)[:REGIONS]]


def balanced(accounts: list[dict]) -> np.ndarray:
    """Expected error of each image where each predicted class counts alike, however rare: the mean over classes of an
    image's expected errors in it over the images' mean share of its pixels. `N`.
    """
    names = sorted({name for each in accounts for name in each["classes"]})
    both = np.array([[each["classes"].get(name, [0, 0]) for name in names] for each in accounts])
    pixels, errors = np.moveaxis(both, 2, 0)
    return (errors / np.maximum(pixels.mean(0), 1e-9)).mean(1)


def rank(scores: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-center (Sener and Savarese, ICLR 2018) whose distances are weighted by the score.

    The next image is the one whose score times its distance to the nearest one before it is largest, so near-duplicates
    of higher ranked images come late.

    Args: scores `N`, at least 0; features `N d`.
    Returns: places in order, and for each image, by place, the higher ranked one most like it; -1 for the first.
    """
    centred = features - features.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    far, nearest = np.ones(len(scores)), np.full(len(scores), -1)
    left, order = np.ones(len(scores), dtype=bool), []
    for _ in scores[:RANKED]:
        wanted = np.where(left, far * scores + 1e-9 * scores, -1)
        order.append(chosen := int(wanted.argmax()))
        left[chosen] = False
        distance = (1 - unit @ unit[chosen]) / 2
        closer = left & ((distance < far) | (nearest < 0))
        far[closer], nearest[closer] = distance[closer], chosen
    rest = np.flatnonzero(left)
    return np.array([*order, *rest[np.argsort(-(far * scores)[rest], kind="stable")]], dtype=int), nearest


def queue(accounts: list[dict], classes: list[str]) -> list[dict]:
    """Rows of `COLUMNS`, the image to label first on top, with each one's account."""
    features = np.array([each["features"] for each in accounts])
    errors, even = np.array([each["error"] for each in accounts]), balanced(accounts)
    (order, nearest), (unbalanced, _) = rank(even, features), rank(errors, features)
    number_unbalanced = unbalanced.argsort() + 1
    rows = []
    for number, place in enumerate(order, 1):
        account, twin = accounts[place], nearest[place]
        like = accounts[twin]["image"] if twin >= 0 else ""
        scores = account["error"], round(even[place], 6), number_unbalanced[place]
        values = (number, account["image"], *scores, like)
        rows.append(dict(zip(COLUMNS, (*values, reason(account, classes)), strict=True)) | {"account": account})
    return rows


def reason(account: dict, classes: list[str]) -> str:
    """Why to label an image, in words."""
    regions = [
        f"{classes[c]}, perhaps {classes[d]}, at x {left}-{right}, y {top}-{bottom}"
        for left, top, right, bottom, c, d in account["regions"]
    ]
    worst = f"; least trusted: {'; '.join(regions)}" if regions else ""
    return f"mean trust {1 - account['error']:.1%}{worst}"


def as_csv(rows: list[dict]) -> str:
    return pandas.DataFrame(rows, columns=COLUMNS).to_csv(index=False, lineterminator="\n")
