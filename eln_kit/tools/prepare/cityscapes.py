"""Cityscapes in its official layout: counted, and unpacked from the archives that its site gives to an account."""

from pathlib import Path

from eln_kit.data.cityscapes import KINDS, image_ids, mask_ids
from eln_kit.tools.prepare.archives import Archive, Source
from eln_kit.tools.prepare.report import Report

COUNTS = {"train": 2975, "val": 500}
SITE = " (from the Cityscapes site, which asks for an account)"
IMAGES = Archive("leftImg8bit_trainvaltest.zip", "leftImg8bit", of=SITE)
MASKS = Archive("gtFine_trainvaltest.zip", "gtFine", of=SITE)


def prepare_cityscapes(root: Path, download: bool, report: Report) -> None:
    if download:
        report.note("download", f"by hand{SITE}")
    images = Source(IMAGES, root, root / "leftImg8bit", report)
    masks = Source(MASKS, root, root / "gtFine", report)
    if any(len(image_ids(root, split)) < COUNTS[split] for split in COUNTS):
        images.bring()
    for split, expected in COUNTS.items():
        _report_images(split, len(image_ids(root, split)), expected, images, report)
    _report_masks(root, masks, report)
    if (root / "leftImg8bit" / "test").is_dir() or (root / "gtFine" / "test").is_dir():
        report.note("test", "is not read: its masks are empty, the benchmark keeps the truth")


def _report_images(split: str, found: int, expected: int, source: Source, report: Report) -> None:
    folder = source.folder / split
    if found < expected:
        report.mend(split, f"{found} of {expected} images in {folder}: {source.mend}")
    elif found > expected:
        report.mend(split, f"{found} images in {folder}, Cityscapes has {expected}: take the others out")
    else:
        report.ok(split, f"{found} of {expected} images")


def _report_masks(root: Path, source: Source, report: Report) -> None:
    """The masks of the kind that the loader reads, which is the one that there are more of."""
    expected = sum(COUNTS.values())
    if max(_masks(root).values()) < expected:
        source.bring()
    counts = _masks(root)
    kind = max(KINDS, key=counts.__getitem__)
    found = f"{counts[kind]} of {expected} {kind if counts[kind] else 'masks'}"
    if counts[kind] == expected:
        mapped = "; mapped to the 19 classes as they are read" if kind == "labelIds" else ""
        report.ok("masks", f"{found}{mapped}")
    elif counts[kind] > expected:
        report.mend("masks", f"{found} in {root / 'gtFine'}: take those that are not of Cityscapes out")
    elif not counts[kind] and (root / "gtCoarse").is_dir():
        report.mend("masks", f"{found}; gtCoarse is there, but only gtFine is read: {source.mend}")
    else:
        report.mend("masks", f"{found} in {root / 'gtFine'}: {source.mend}")


def _masks(root: Path) -> dict[str, int]:
    """How many masks of each kind training and validation have."""
    return {kind: sum(len(mask_ids(root, split, kind)) for split in COUNTS) for kind in KINDS}
