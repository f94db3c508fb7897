"""What a reader finds in an export: images, each with a way to draw its mask, classes, and what was odd."""

import base64
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import numpy as np

from eln_kit.data.classes import palette
from eln_kit.data.ids import is_ours
from eln_kit.data.items import VOID, DataSet, Item, read_mask
from eln_kit.data.pictures import IMAGE_SUFFIXES, upright_size
from eln_kit.faults import DataError
from eln_kit.paths import write_whole
from eln_kit.tools.report import Report

BACKGROUND = "background"
Draw = Callable[[], np.ndarray]
Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Picture:
    """An image of an export; `draw` gives its mask, uint8 `H W`, and is None where nobody has labelled the image.

    `id` is that of a data set which has the image already.
    """

    image: Path
    part: str  # train, val or test
    draw: Draw | None = None
    id: str = ""


class Export:
    """Collects pictures, classes and what is to be told.

    Class 0 is the background, which nothing covers; with a `base` classes are as there, and where that has no
    background, what nothing covers is void.
    """

    def __init__(self, root: Path, base: DataSet | None = None):
        self.root, self.base = root, base
        self.pictures: dict[Path, Picture] = {}
        self.seen: set[Path] = set()
        self.classes = list(base.classes) if base else [BACKGROUND]
        self.colors: np.ndarray | None = base.colors if base else None
        self.odd: dict[tuple[str, str], list[str]] = {}

    def note(self, what: str, said: str, example: object) -> None:
        """One more case of what `said` tells, after its number: `images are not there`."""
        self.odd.setdefault((what, said), []).append(str(example))

    def index(self, name: str) -> int:
        """Of a class, which is added where it is new."""
        name = next(filter(is_background, self.classes), BACKGROUND) if is_background(name) else name
        if name not in self.classes:
            self.classes.append(name)
            if self.base:
                self.note("classes", "classes are not those of --base, and come after them", name)
        if len(self.classes) > VOID:
            raise DataError(f"{self.root}: has more than {VOID} classes, which masks of 8 bits cannot hold")
        return self.classes.index(name)

    def add(self, image: Path | None, name: str, part: str, draw: Draw | None = None, size: Size = (0, 0)) -> None:
        """One more picture; `name` is what the export calls the image that was looked for, `size` that of its mask."""
        if image is None:
            self.note("missing", "images are not there, and are left out", name)
        elif image in self.seen:
            self.note("twice", "images are listed more than once, and the first list counts", name)
        elif not (found := size_of(image)):
            self.note("broken", "images cannot be read, and are left out", name)
        elif draw and found != size:
            self.note("size", "images have not the size that their labels have, and are left out", name)
        else:
            self.pictures[image] = Picture(image, part, draw)
            if draw is None:
                self.note("unlabelled", "images have no labels, and come along as unlabelled", name)
        self.seen |= {image} if image else set()

    def tell(self, report: Report) -> None:
        """What was odd, each kind once, with its number and an example."""
        for (what, said), examples in self.odd.items():
            report.tell("note", what, f"{len(examples)} {said}, such as {examples[0]}")
        self.odd = {}

    def add_others(self, folder: Path) -> None:
        """Images below a folder that the export does not name."""
        for image in images_below(folder):
            if image not in self.seen:
                self.add(image, str(image), "train")

    def find(self, name: str, *folders: Path) -> Path | None:
        """The image of that name in one of the folders, else the only one in the export whose path ends alike."""
        path = PurePosixPath(name.replace("\\", "/"))
        for tried in dict.fromkeys((path, PurePosixPath(unquote(str(path))))):  # Label Studio writes %20 for a space
            for folder in folders:
                if (place := Path(os.path.abspath(folder / tried))).is_file():
                    return place
            if len(alike := self._by_name.get(tried.name, [])) == 1:
                return alike[0]
        return None

    def unpack(self, name: str, inside: str) -> Path:
        """The file of an image that an annotation holds in base 64; it is there for as long as this object."""
        file = Path(self._unpacked.name, str(len(self.seen)), PurePosixPath(name.replace("\\", "/")).name)
        write_whole(file, base64.b64decode(inside))
        return file

    @cached_property
    def _unpacked(self) -> TemporaryDirectory:
        return TemporaryDirectory()

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for image in images_below(self.root):
            found.setdefault(image.name, []).append(image)
        return found

    def paint(self, size: Size, shapes: Iterable[tuple[np.ndarray, int]], name: str) -> np.ndarray:
        """The mask of shapes, bool `H W` and class, each over those before it."""
        mask, taken, overlap = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=bool), False
        if self.base and not is_background(self.classes[0]):
            mask[:] = VOID
        for where, index in shapes:
            overlap |= bool((taken & where & (mask != index)).any())
            mask[where], taken = index, taken | where
        if overlap:
            self.note("overlaps", "images have labels of different classes over each other, the last on top", name)
        return mask

    def palette(self) -> np.ndarray:
        colors = palette(len(self.classes))
        return colors if self.colors is None else np.concatenate([self.colors, colors[len(self.colors) :]])

    def add_base(self, base: DataSet) -> None:
        """The pictures of a data set, with their masks; one that is labelled anew has new labels, and the old id."""
        new = {_checksum(picture.image): picture for picture in self.pictures.values()}
        parts = [("train", item) for item in base.train] + [("val", item) for item in base.val]
        for part, item in parts:
            twin = new.get(_checksum(item.image), Picture(item.image, part))
            draw = twin.draw or (partial(_own, item, base) if item.mask else None)
            self.pictures[twin.image] = Picture(twin.image, part, draw, item.id)


def _own(item: Item, base: DataSet) -> np.ndarray:
    return read_mask(item, base).numpy()


def is_background(name: str) -> bool:
    return name.lower() in (BACKGROUND, "_background_")


def _checksum(file: Path) -> int:
    return zlib.crc32(file.read_bytes())


def images_below(folder: Path) -> Iterator[Path]:
    return (file for file in files_below(folder, "*") if file.suffix.lower() in IMAGE_SUFFIXES)


def files_below(folder: Path, pattern: str) -> Iterator[Path]:
    """A person's own files below a folder, in order."""
    return (file for file in sorted(folder.rglob(pattern)) if is_ours(file.relative_to(folder)))


def read_json(
    root: Path, keys: set[str], tool: str, read: Callable[[Path, dict, Export], None], export: Export
) -> None:
    """Pass `read` each JSON file below `root`, or the one that it is, that is an object with these keys.

    Raises:
        DataError: there is none, or one is no JSON, or not as the tool writes it.
    """
    found = False
    for file in files_below(root, "*.json") if root.is_dir() else [root]:
        try:
            content = json.loads(file.read_bytes())
        except ValueError as error:
            raise DataError(f"{file}: is not JSON ({error}); export it again, or take it away") from None
        if isinstance(content, dict) and content.keys() >= keys:
            found = True
            try:
                read(file, content, export)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{file}: is not as {tool} has it ({type(error).__name__}: {error})") from None
    if not found:
        raise DataError(f"{root}: holds no {tool} file, which is JSON of {', '.join(sorted(keys))}")
    export.add_others(export.root)


def size_said(height: object, width: object) -> Size:
    """A size as a file says it, such as 64.0; (0, 0) where it says none."""
    try:
        size = int(height), int(width)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return 0, 0
    return size if min(size) > 0 else (0, 0)


def part_of(path: str) -> str:
    """train, val or test by the words in a path, such as `valid/_annotations.coco.json` or `instances_val2017`."""
    words = re.findall("[a-z]+", path.lower())
    known = {"val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
    return next((known[word] for word in reversed(words) if word in known), "train")


def size_of(image: Path) -> Size | None:
    """Height and width of the upright image; None where it cannot be read."""
    try:
        width, height = upright_size(image)
    except DataError:
        return None
    return height, width
