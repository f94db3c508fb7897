"""A survey of a data set in words: a few lines for a person, the same as JSON, and what is odd about it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from eln_kit.data.extra import extra_items
from eln_kit.data.items import VOID, DataSet, groups_of
from eln_kit.data.splits import Split
from eln_kit.data.splits import held_out as held_out_of
from eln_kit.params import Params
from eln_kit.tools.survey import Survey

RARE, FAINT = 0.005, 0.0001  # shares of the labelled pixels
FEW_GROUPS = 20
NAMED = 20  # classes with their share, folders with unused files


def facts(found: Survey, split: Split, params: Params) -> dict:
    """What `describe` tells, for programs: counts of images, masks and pixels, sizes as `[width, height]`, shares."""
    dataset, pixels = found.dataset, found.masks.sum(0)
    sizes = sorted({look.size for look in found.looks}, key=lambda size: (size[0] * size[1], size))
    largest = max(look.largest for look in found.looks)
    return {
        "name": dataset.name,
        "classes": dataset.classes,
        "images": {"train": len(dataset.train), "val": len(dataset.val)},
        "masks": {"train": sum(item.mask is not None for item in dataset.train), "val": len(dataset.val)},
        "split": {"labeled": len(split.labeled), "unlabeled": len(split.unlabeled), "source": split.source},
        "extra_masks": len(extra_items(split, params.data)),
        "pixels": {name: int(count) for name, count in zip(dataset.classes, pixels, strict=False)},
        "void": int(pixels[VOID]),
        "sizes": {"smallest": list(sizes[0]), "largest": list(sizes[-1]), "different": len(sizes)},
        "kinds": dict(Counter(look.kind for look in found.looks).most_common()),
        "depth": {"bits": dataset.train[0].depth, "largest": largest} if largest else None,
        "unused": list(map(str, dataset.unused)),
        "notes": list(dataset.notes),
        "warnings": list(_odd(found, params)),
    }


def describe(found: Survey, split: Split, params: Params) -> str:
    """Some lines with what there is, then a line for each thing that is odd."""
    told = facts(found, split, params)
    small, large = ("{} x {}".format(*told["sizes"][which]) for which in ("smallest", "largest"))
    count = len(held_out_of(split.labeled, found.dataset, params.data.held_out))
    held_out = f", {count} of the labelled ones held out" if count else ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["kinds"].items())
    lines = [
        f"data        {told['name']}, {len(told['classes'])} classes; {len(split.labeled)} labelled and "
        f"{len(split.unlabeled)} unlabelled images{held_out}; {told['images']['val']} to validate on",
        f"split       {split.source}",
        f"masks       {told['masks']['train']} of {told['images']['train']} training images have one",
        f"sizes       {small if small == large else f'{small} to {large}'} pixels; {kinds}",
        f"pixels      {_shares(told)}",
    ]
    if told["depth"]:
        bits, largest = told["depth"].values()
        lines.append(f"depth       16-bit images end at {largest}, and are read as of {bits} bits (data.depth)")
    if params.data.bands:
        lines.append(f"bands       {', '.join(map(str, params.data.bands))} of each TIFF are read (data.bands)")
    if told["extra_masks"]:
        lines.append(f"extra       {told['extra_masks']} unlabelled images have a predicted mask (data.extra_masks)")
    if told["unused"]:
        lines.append(f"not used    {_unused(found.dataset)}")
    lines += [f"note        {note}" for note in told["notes"]]
    return "\n".join(lines + [f"warning     {line}" for line in told["warnings"]])


def _odd(found: Survey, params: Params) -> Iterator[str]:
    """A line for each thing that is allowed, and seldom meant."""
    masks, names = found.masks, found.dataset.classes
    pixels = masks.sum(0)
    shares = dict(zip(names, pixels / pixels[:VOID].sum(), strict=False))
    if absent := [name for name, share in shares.items() if not share]:
        yield f"no mask has {_some(absent)}"
    if faint := [name for name, share in shares.items() if 0 < share < FAINT]:
        yield f"under {FAINT:.2%} of the labelled pixels: {_some(faint)}"
    if 0 < (rarest := min(share for share in shares.values() if share)) < RARE:
        yield f"the rarest class has {rarest:.2%} of the labelled pixels; try optimizer.class_weights=sqrt"
    if (void := pixels[VOID] / pixels.sum()) > 0.5:
        yield f"{void:.0%} of the masks' pixels are void"
    if found.void:
        yield f"{len(found.void)} masks are void everywhere, such as {min(str(item.mask) for item in found.void)}"
    if turned := sum(look.is_turned for look in found.looks):
        yield f"{turned} labelled images are turned or mirrored by their EXIF tag: their masks should be upright, too"
    single = int(((masks > 0).sum(1) == 1).sum())
    if single > len(masks) / 2:
        yield f"{single} of {len(masks)} masks hold one value only"
    if all(look.is_grey for look in found.looks):
        yield "all images are grey, so views.jitter changes their brightness and contrast alone"
    yield from _small(found, params)
    yield from _twice(found)
    yield from _shared_groups(found.dataset)


def _twice(found: Survey) -> Iterator[str]:
    count = len(found.dataset.train)
    train = dict(zip((look.checksum for look in found.looks[:count]), found.dataset.train, strict=True))
    pairs = zip(found.dataset.val, found.looks[count:], strict=True)
    both = [(item.image, train[look.checksum].image) for item, look in pairs if look.checksum in train]
    if both:
        example = " and ".join(map(str, both[0]))
        yield f"{len(both)} validation images are training images too, such as {example}; this flatters the networks"


def _shared_groups(dataset: DataSet) -> Iterator[str]:
    train, val = (set(groups_of(items, dataset)) for items in (dataset.train, dataset.val))
    if dataset.groups and (both := sorted(train & val)):
        yield f"training and validation images share groups: {_some(both)}; what is measured flatters the networks"
    if dataset.groups and len(val) < FEW_GROUPS:
        yield f"the validation images are of {len(val)} group{'s' * (len(val) > 1)}: too few for an interval"


def _small(found: Survey, params: Params) -> Iterator[str]:
    height, width = params.views.crop
    factor = params.data.resize
    small = sum(factor * look.size[0] < width or factor * look.size[1] < height for look in found.looks)
    if small and not params.views.squeeze:
        yield f"{small} of {len(found.looks)} images are smaller than the crop of {width} x {height}; void fills it"


def _shares(told: dict) -> str:
    every = told["void"] + sum(told["pixels"].values())
    shares = [f"{name} {count / every:.2%}" for name, count in told["pixels"].items()]
    return f"{_some(shares)}; void {told['void'] / every:.2%}"


def _unused(dataset: DataSet) -> str:
    folders: dict[Path, list[str]] = {}
    for file in dataset.unused:
        folders.setdefault(file.parent, []).append(file.name)
    shown = [f"{folder} ({len(names)}: {_some(names, 3)})" for folder, names in list(folders.items())[:NAMED]]
    count = len(dataset.unused)
    return f"{count} file{'s' * (count > 1)}: {', '.join(shown)}{', ...' * (len(folders) > NAMED)}"


def _some(names: list[str], count: int = NAMED) -> str:
    return ", ".join(names[:count]) + ", ..." * (len(names) > count)
