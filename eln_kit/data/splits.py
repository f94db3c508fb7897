"""Which training images keep their labels."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from eln_kit.data.ids import find_listed
from eln_kit.data.items import DataSet, Item, class_pixels, groups_of, spread
from eln_kit.faults import DataError, ParamsError
from eln_kit.params import Data, Params
from eln_kit.paths import resolve, write_whole

LIST_FOLDERS = ("ImageSets/Segmentation", "data_lists")  # where official lists lie, in VOC2012 and beside leftImg8bit
NOT_DECIDING = {
    "root", "held_out", "extra_masks", "extra_weight", "resize", "depth", "bands", "batch_labeled", "batch_unlabeled",
    "workers", "cache",
}  # of a split  # fmt: skip


@dataclass(frozen=True)
class Split:
    """Training images with and without labels; no image is in both.

    An unlabelled item keeps its mask where there is one: only the oracle and monitoring look at it. `source` tells
    a person where the split is from; `made_with` is what `deciding` said when it was saved.
    """

    labeled: list[Item]
    unlabeled: list[Item]
    source: str = field(default="", compare=False)
    made_with: dict | None = field(default=None, compare=False)

    @property
    def has_truth(self) -> bool:
        """Whether some unlabelled image has a mask."""
        return any(item.mask for item in self.unlabeled)


def make_split(dataset: DataSet, data: Data) -> Split:
    """Split by the lists `data.labeled_ids` and `data.unlabeled_ids`, or draw `data.labels` by `data.seed`.

    A draw that covers the classes reads masks of images that it leaves unlabelled, and `source` says so. With
    `data.split_id` and neither of these lists the official ones are used, or `data.split_id` is the seed. A larger draw
    has a smaller one's images.

    Raises:
        DataError: a list is missing, empty, names an unknown image, an image without a mask as labelled, or
            one that the other list has too; or there are fewer masks than `data.labels`.
    """
    files, source = _lists(dataset, data)
    labeled, unlabeled = (find_listed(file, dataset.train) if file else [] for file in files)
    _check(labeled, set(unlabeled), *files)
    if not files[0]:
        seed = data.seed if data.split_id is None else data.split_id
        taken = set(unlabeled)
        masked = [item for item in dataset.train if item.mask and item not in taken]
        labeled = _draw(masked, dataset, data, seed)
        read = data.draw == "covering" and len(labeled) < len(masked)
        reads = " (all masks read)" if read else ""
        source = f"drawn with seed {seed}{reads}{source and ', '}{source}"
    if not files[1]:
        taken = set(labeled)
        unlabeled = [item for item in dataset.train if item not in taken]
    return Split(labeled, unlabeled, source)


def deciding(dataset: DataSet, data: Data) -> dict:
    """What a split depends on: knobs of `data`, files by name alone, and how many images and masks there are."""
    counts = {"images": len(dataset.train), "masks": sum(item.mask is not None for item in dataset.train)}
    names = {knob: Path(getattr(data, knob)).name for knob in ("classes", "labeled_ids", "unlabeled_ids")}
    return data.model_dump(exclude=NOT_DECIDING) | names | counts


def save_split(split: Split, path: str | Path, made_with: dict | None = None) -> None:
    """Write the ids as JSON, at once or not at all; `made_with` is from `deciding`."""
    ids = {"labeled": [i.id for i in split.labeled], "unlabeled": [i.id for i in split.unlabeled]}
    write_whole(Path(path), json.dumps({"source": split.source, "made_with": made_with} | ids, indent=1))


def load_split(dataset: DataSet, path: str | Path) -> Split:
    """The split that `save_split` wrote; raises DataError for a broken file or an id that `dataset` lacks."""
    by_id = {item.id: item for item in dataset.train}
    try:
        kept = json.loads(Path(path).read_text())
        labeled, unlabeled = ([by_id[id] for id in kept[part]] for part in ("labeled", "unlabeled"))
        return Split(labeled, unlabeled, kept.get("source", ""), kept.get("made_with"))
    except KeyError as error:
        raise DataError(f"{path}: the data set lacks {error}; delete this split, or correct data.root") from None
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a split: {error}") from None


def held_out(items: list[Item], dataset: DataSet, count: int) -> list[Item]:
    """`count` of the items, evenly spread; whole groups, so at least as many, where the data set names groups."""
    names = groups_of(items, dataset)
    sizes = Counter(names)
    chosen: list[str] = []
    while count > sum(sizes[name] for name in chosen) and len(chosen) < len(sizes):
        chosen = spread(list(sizes), len(chosen) + 1)
    return [item for item, name in zip(items, names, strict=True) if name in chosen]


def check_held_out(params: Params, split: Split, dataset: DataSet) -> None:
    """Refuse to keep all labelled images out of training (ParamsError)."""
    count, labeled = params.data.held_out, len(split.labeled)
    if len(held_out(split.labeled, dataset, count)) >= labeled:
        whole = ", in whole groups" if dataset.groups else ""
        raise ParamsError(
            f"data.held_out = {count}{whole}: of {labeled} labelled images none would be left to train on"
        )


def check_unlabeled(params: Params, split: Split) -> None:
    """Refuse a split that stage 3 cannot learn from (DataError)."""
    if not params.semi_supervised.unlabeled:
        return
    if not split.unlabeled:
        raise DataError("no unlabelled images are left: lower data.labels or set semi_supervised.unlabeled=false")
    if params.semi_supervised.filter == "oracle" and not split.has_truth:
        raise DataError("semi_supervised.filter=oracle needs masks of the unlabelled images, and none has one")


def _lists(dataset: DataSet, data: Data) -> tuple[list[Path | None], str]:
    """The files of labelled and of unlabelled ids, None where there are none, and what they are."""
    named = _named(dataset, data)
    if not any(named) and (official := official_lists(dataset, data)):
        return [*official], f"official lists {', '.join(file.name for file in official)}"
    files = {"data.labeled_ids": data.labeled_ids, "data.unlabeled_ids": data.unlabeled_ids}
    return named, ", ".join(f"{knob}={file}" for knob, file in files.items() if file)


def official_lists(dataset: DataSet, data: Data) -> list[Path]:
    """The published lists of labelled and unlabelled images for labels 1/N and `data.split_id`; [] without them.

    Raises:
        DataError: only one of the two is there.
    """
    share = Fraction(0) if isinstance(data.labels, int) else Fraction(str(data.labels))
    if data.split_id is None or share.numerator != 1:
        return []
    names = [f"{share.denominator}_{part}_{data.split_id}.txt" for part in ("labeled", "unlabeled")]
    for folder in (above / lists for above in _folders(dataset, data) for lists in LIST_FOLDERS):
        there = [name for name in names if (folder / name).is_file()]
        if len(there) == 1:
            absent = next(folder / name for name in names if name not in there)
            raise DataError(f"{absent}: no such list, but {there[0]} is there; add it, or set data.split_id=null")
        if there:
            return [folder / name for name in names]
    return []


def lists_at_hand(dataset: DataSet, data: Data) -> bool:
    """Whether `data.labeled_ids` or `data.unlabeled_ids` names a list, and none that is gone."""
    files = [file for file in _named(dataset, data) if file]
    return bool(files) and all(file.is_file() for file in files)


def _named(dataset: DataSet, data: Data) -> list[Path | None]:
    """`data.labeled_ids` and `data.unlabeled_ids`, which lie at the path itself or below the data set's folder."""

    def find(file: str) -> Path:
        paths = [resolve(file), *(folder / file for folder in _folders(dataset, data))]
        return next((path for path in paths if path.is_file()), paths[0])

    return [find(file) if file else None for file in (data.labeled_ids, data.unlabeled_ids)]


def _folders(dataset: DataSet, data: Data) -> list[Path]:
    """The folders from the images' own up to `data.root`."""
    root = resolve(data.root)
    return [f for f in dataset.train[0].image.parents if data.root and f.is_relative_to(root)]


def _check(labeled: list[Item], unlabeled: set[Item], labeled_file: Path | None, unlabeled_file: Path | None) -> None:
    for item in labeled:
        if item.mask is None:
            raise DataError(f"{labeled_file}: {item.id} has no mask; add one or take it off the list")
        if item in unlabeled:
            raise DataError(f"{labeled_file}: {item.id} is in {unlabeled_file} too; take it off one list")


def _draw(items: list[Item], dataset: DataSet, data: Data, seed: int) -> list[Item]:
    count = data.labels
    if not isinstance(count, int):
        count = max(1, round(Fraction(count) * len(items)))
    if count > len(items):
        raise DataError(f"data.labels = {count}: there are only {len(items)} images with masks to choose from")
    if count == len(items):
        return items
    order = np.random.default_rng(seed).permutation(len(items))
    if data.draw == "random":
        return [items[index] for index in sorted(order[:count])]
    with ThreadPoolExecutor() as pool:
        rows = pool.map(lambda index: class_pixels(items[index], dataset) > 0, order)
    chosen = _spread(np.stack(list(rows)), count)
    return [items[index] for index in sorted(order[chosen])]


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
