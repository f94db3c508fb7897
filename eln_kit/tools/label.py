"""Masks and trust for a folder of images: written one by one, and gone on with where it was stopped."""

import json
import os
import sys
import zlib
from collections.abc import Iterator
from itertools import tee
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from eln_kit.audience import person_watches
from eln_kit.data import VOID, Item, as_read, read_mask
from eln_kit.data.classes import in_palette
from eln_kit.faults import DataError, ParamsError
from eln_kit.paths import link, write_picture, write_whole, writing
from eln_kit.tools import queue
from eln_kit.tools.model import Found, Model, level_of, levels_of
from eln_kit.tools.show import find_images

LOG = "images.jsonl"  # first what the masks are made with, then a line an image, written after its files
MEND = "; make room, or choose another --out"


class Labelling:
    """Files below `out` for the images of a folder.

    `masks/` class indices in the classes' colours; `trust/` in 255ths, 255 surely right; `trusted/` a data set for
    `data.name=folder`, with the run's own validation images: its masks are void where trust is below the class's level,
    and an image of which nothing is trusted has none; `queue.csv`. A line of `images.jsonl` says that an image is done.

    Args:
        images: a folder, or items of a data set.
        levels: int `C`, from which trust on pixels are kept; see `promise.choose`. None: the run's threshold.

    Raises:
        ParamsError: the model is an exported file.
        DataError: no images, or `out` holds masks that were made with something else.
        Fault: `out` cannot be written.
    """

    def __init__(self, model: Model, images: Path | list[Item], out: Path, levels: np.ndarray | None = None):
        if model.features is None:
            raise ParamsError("an exported file cannot rank images; give the run folder instead")
        level = level_of(model.params.semi_supervised.threshold)
        self.model, self.out = model, out
        self.levels = np.full(len(model.classes), level) if levels is None else levels
        items = find_images(images, out) if isinstance(images, Path) else images
        self.items = as_read(items, model.params.data, model.depth)
        folder = images if isinstance(images, Path) else None
        self.names = {i.id: i.image.relative_to(folder).as_posix() if folder else i.id for i in self.items}
        self.items_by_id = {item.id: item for item in self.items}
        model.depth = self.items[0].depth
        self.broken = 0
        with writing(out, MEND):
            self.accounts = self._done()
            if not self.accounts:
                self._describe()

    def run(self) -> None:
        """Label what is left, an image at a time; a broken one is a line on stderr."""
        done = {old["id"]: old for old in self.accounts if _stamp(self.items_by_id.get(old["id"])) == old["stamp"]}
        self.accounts = list(done.values())
        labelled, seen = tee(self._readable([item for item in self.items if item.id not in done]))
        bar = tqdm(total=len(self.items), initial=len(done), unit="image", disable=not person_watches())
        with writing(self.out, MEND), bar, open(self.out / LOG, "a") as log:
            for (item, _), found in zip(labelled, self.model.each(image for _, image in seen), strict=True):
                account = self._label(item, found)
                log.write(json.dumps(account) + "\n")
                log.flush()
                self.accounts.append(account)
                bar.update()
        self.accounts.sort(key=lambda account: account["image"])

    @property
    def kept_share(self) -> float:
        return float(np.mean([account["kept"] for account in self.accounts])) if self.accounts else 0.0

    def queue(self) -> list[dict]:
        """The rows of `queue.csv`, which is written."""
        rows = queue.queue(self.accounts, self.model.classes) if self.accounts else []
        write_whole(self.out / "queue.csv", queue.as_csv(rows))
        return rows

    def read(self, account: dict) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Image, mask and trust of an image that is labelled: uint8 `3 H W` and `H W`, and float `H W` in 0..1."""
        files = (self.out / kind / f"{account['id']}.png" for kind in ("masks", "trust"))
        mask, trust = (np.asarray(Image.open(file)) for file in files)
        return self.model.read(self.items_by_id[account["id"]].image), mask, trust / 255

    def _readable(self, items: list[Item]) -> Iterator[tuple[Item, Tensor]]:
        for item in items:
            try:
                yield item, self.model.read(item.image)
            except DataError as error:
                self.broken += 1
                tqdm.write(str(error), file=sys.stderr)

    def _label(self, item: Item, found: Found) -> dict:
        trust = levels_of(found.trust)
        keep = trust >= self.levels[found.mask]
        write_picture(self.out / f"masks/{item.id}.png", in_palette(found.mask, found.colors))
        write_picture(self.out / f"trust/{item.id}.png", Image.fromarray(trust))
        place = self.out / f"trusted/masks/train/{item.id}.png"
        place.unlink(missing_ok=True)
        if keep.any():
            write_picture(place, in_palette(np.where(keep, found.mask, VOID), found.colors))
        link(item.image, self.out / f"trusted/images/train/{item.id}{item.image.suffix}")
        features = [float(f"{value:.4g}") for value in self.model.pooled(found.image)]
        known = {"id": item.id, "image": self.names[item.id], "stamp": _stamp(item), "kept": float(keep.mean())}
        return known | queue.account(found) | {"features": features}

    def _done(self) -> list[dict]:
        """The lines of the log that are whole; the first is checked, and written where there is none."""
        log, made_with = self.out / LOG, {"made_with": [self._weights(), self.levels.tolist(), *self._knobs()]}
        log.parent.mkdir(parents=True, exist_ok=True)
        lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []  # what a kill cut short has no end
        if not lines:
            write_whole(log, json.dumps(made_with) + "\n")
            return []
        first, *rest = map(json.loads, lines)
        if first != made_with:
            raise DataError(f"{log}: made with other weights, thresholds or knobs; choose another --out, or delete it")
        os.truncate(log, sum(len(line) + 1 for line in lines))
        return rest

    def _weights(self) -> int:
        """A checksum of what the networks say, so that other weights are told from these wherever the run lies."""
        pattern = np.arange(3 * 64 * 64, dtype=np.uint8).reshape(3, 64, 64)
        found = next(self.model.each([self.model.read(pattern.transpose(1, 2, 0))]))
        return zlib.crc32(found.mask.tobytes() + found.trust.round(3).tobytes())

    def _knobs(self) -> list:
        params = self.model.params
        return [params.evaluation.model_dump(), params.data.resize, params.data.bands, self.model.depth]

    def _describe(self) -> None:
        """dataset.yaml and the run's validation images, which make `trusted/` a data set."""
        trusted, dataset = self.out / "trusted", self.model.dataset
        colors = dataset.colors.tolist()
        classes = [{"name": name, "color": color} for name, color in zip(dataset.classes, colors, strict=True)]
        trusted.mkdir(exist_ok=True)
        described = yaml.safe_dump({"classes": classes, "masks": "index", "void": [VOID]}, sort_keys=False)
        write_whole(trusted / "dataset.yaml", described)
        for item in dataset.val:
            mask = in_palette(read_mask(item, dataset).numpy(), dataset.colors)
            write_picture(trusted / f"masks/val/{item.id}.png", mask)
            link(item.image, trusted / f"images/val/{item.id}{item.image.suffix}")


def _stamp(item: Item | None) -> list[int]:
    """Size and time of an image, by which another one of the same name is told."""
    if item is None:
        return []
    stat = item.image.stat()
    return [stat.st_size, stat.st_mtime_ns]
