"""Which training images keep their labels."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from eln_kit.data.ids import find_items, read_ids
from eln_kit.data.items import VOID, DataError, DataSet, Item, read_mask
from eln_kit.params import Data
from eln_kit.paths import resolve


@dataclass(frozen=True)
class Split:
    """Training images with and without labels; no image is in both.

    An unlabelled item keeps its mask where there is one: only the oracle and monitoring look at it.
    """

    labeled: list[Item]
    unlabeled: list[Item]


def make_split(dataset: DataSet, data: Data) -> Split:
    """Split by the lists `data.labeled_ids` and `data.unlabeled_ids`, or draw `data.labels` by `data.seed`.

    A draw takes every class as far as the number allows, and a larger draw has a smaller one's images.

    Raises:
        DataError: a list is missing, empty, names an unknown image, an image without a mask as labelled, or
            one that the other list has too; or there are fewer masks than `data.labels`.
    """
    labeled = _listed(data.labeled_ids, dataset, data)
    unlabeled = _listed(data.unlabeled_ids, dataset, data)
    taken = set(unlabeled)
    for item in labeled:
        if item.mask is None:
            raise DataError(f"{data.labeled_ids}: {item.id} has no mask; add one or take it off the list")
        if item in taken:
            raise DataError(f"{data.labeled_ids}: {item.id} is in {data.unlabeled_ids} too; take it off one list")
    if not data.labeled_ids:
        labeled = _draw([i for i in dataset.train if i.mask and i not in taken], dataset, data)
    if not data.unlabeled_ids:
        taken = set(labeled)
        unlabeled = [item for item in dataset.train if item not in taken]
    return Split(labeled, unlabeled)


def save_split(split: Split, path: str | Path) -> None:
    """Write the ids as JSON, at once or not at all."""
    path = Path(path)
    ids = {"labeled": [i.id for i in split.labeled], "unlabeled": [i.id for i in split.unlabeled]}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(ids, indent=1))
    os.replace(temporary, path)


def load_split(dataset: DataSet, path: str | Path) -> Split:
    """The split that `save_split` wrote; raises DataError for a broken file or an id that `dataset` lacks."""
    by_id = {item.id: item for item in dataset.train}
    try:
        ids = json.loads(Path(path).read_text())
        return Split([by_id[id] for id in ids["labeled"]], [by_id[id] for id in ids["unlabeled"]])
    except KeyError as error:
        raise DataError(f"{path}: the data set lacks {error}; delete this split, or mend data.root") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a split: {error}") from None


def _listed(file: str, dataset: DataSet, data: Data) -> list[Item]:
    """The items of a list, which lies at the path itself or below the data set's folder."""
    if not file:
        return []
    root = resolve(data.root)
    above_images = [f for f in dataset.train[0].image.parents if data.root and f.is_relative_to(root)]
    places = [resolve(file), *(folder / file for folder in above_images)]
    place = next((p for p in places if p.is_file()), places[0])
    return find_items(read_ids(place), dataset.train, place)


def _draw(items: list[Item], dataset: DataSet, data: Data) -> list[Item]:
    count = data.labels
    if not isinstance(count, int):
        count = max(1, round(Fraction(count) * len(items)))
    if count > len(items):
        raise DataError(f"data.labels = {count}: there are only {len(items)} images with masks to choose from")
    if count == len(items):
        return items
    order = np.random.default_rng(data.seed).permutation(len(items))
    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda index: _classes_present(items[index], dataset), order)
    chosen = _spread(np.stack(list(rows)), count)
    return [items[index] for index in sorted(order[chosen])]


def _classes_present(item: Item, dataset: DataSet) -> np.ndarray:
    present = np.zeros(VOID + 1, dtype=bool)
    present[read_mask(item, dataset).numpy()] = True
    return present[: len(dataset.classes)]


def _spread(present: np.ndarray, count: int) -> list[int]:
    """`count` rows of `present` (bool, N x C): again and again the first with the rarest class not yet had,
    then the first of the others."""
    images_with = present.sum(0)
    missing = images_with > 0
    chosen: list[int] = []
    while missing.any() and len(chosen) < count:
        rarest = np.where(missing, images_with, len(present) + 1).argmin()
        chosen.append(int(present[:, rarest].argmax()))
        missing &= ~present[chosen[-1]]
    rest = [row for row in range(len(present)) if row not in set(chosen)]
    return chosen + rest[: count - len(chosen)]
