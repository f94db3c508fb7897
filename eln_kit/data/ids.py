"""Which files are images of a data set: in text files that list them, one a line, and in folders."""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath

from eln_kit.data.items import Item
from eln_kit.data.pictures import IMAGE_SUFFIXES
from eln_kit.faults import DataError
from eln_kit.paths import text_of

NOT_OURS = (".", "@eaDir", "__MACOSX")  # hidden files, and what a NAS and a Mac add to folders
COMMENT = re.compile(r"(^|\s)#(\s.*|$)")


def read_ids(file: Path) -> list[str]:
    """The first word of each line, in order and once; blank lines and comments, `# ...`, are passed over.

    Raises:
        DataError: the file is missing, is no text, or names nothing.
    """
    words = [COMMENT.sub("", line).split() for line in _lines(file) if not line.startswith("#")]
    return _some(list(dict.fromkeys(word[0] for word in words if word)), file)


def find_listed(file: Path, items: list[Item]) -> list[Item]:
    """The items that a list names by id, by file (`JPEGImages/2007_000032.jpg`) or by the end of an id.

    A line is tried as a whole first, so that an id may have spaces, `#` and commas; then without a comment; then, where
    it is a pair such as `a.jpg,a.png` or `a.jpg a.png`, as its first file.

    Raises:
        DataError: as `read_ids`, or names the id that no item or more than one item has.
    """
    by_id = {composed(item.id): item for item in items}
    by_end: dict[str, list[Item]] = {}
    for item in items:
        by_end.setdefault(PurePosixPath(composed(item.id)).name, []).append(item)
    listed = {}
    for line in map(composed, _lines(file)):
        fits = next(filter(None, (_fits(name, by_id, by_end) for name in _readings(line))), [])
        if not fits and line.startswith("#"):
            continue
        if len(fits) > 1:
            raise DataError(f"{file}: {line} fits {fits[0].id} and {fits[1].id}; write the whole id")
        if not fits:
            raise DataError(f"{file}: {line} is no training image of this data set; correct the list, or add the image")
        listed[fits[0].id] = fits[0]
    return _some(list(listed.values()), file)


def is_ours(path: PurePath) -> bool:
    """Whether a path below a data set is a person's own file."""
    return not any(part.startswith(NOT_OURS) for part in path.parts)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in order and of a person's own files; [] where it is not. No file is looked at."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(NOT_OURS))
    except (FileNotFoundError, NotADirectoryError):
        return []


def composed(text: str) -> str:
    """A Mac writes an accent as a letter of its own, others do not: the same name to a person (NFC)."""
    return unicodedata.normalize("NFC", text)


def _some(items: list, file: Path) -> list:
    if not items:
        raise DataError(f"{file}: names no image; write one id a line")
    return items


def _lines(file: Path) -> list[str]:
    """Lines that are not empty."""
    try:
        lines = text_of(file).splitlines()
    except FileNotFoundError:
        raise DataError(f"{file}: no such list of ids") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a list of ids: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def _readings(line: str) -> Iterator[str]:
    """What a line may name, the likeliest first."""
    bare = COMMENT.sub("", line).strip()
    yield from (line, bare)
    for first in (re.split(r"[,;\t]", bare)[0].strip(), bare.split()[0] if bare else ""):
        if PurePosixPath(first.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES:
            yield first


def _fits(name: str, by_id: dict[str, Item], by_end: dict[str, list[Item]]) -> list[Item]:
    if name in by_id:
        return [by_id[name]]
    path = PurePosixPath(name.replace("\\", "/"))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    if not path.name:
        return []
    parts = path.with_name(path.name.removesuffix("_leftImg8bit")).parts
    for start in range(len(parts)):  # the longest end of the path that is an id
        if item := by_id.get("/".join(parts[start:])):
            return [item]
    return [item for item in by_end.get(parts[-1], []) if composed(item.id).endswith("/" + "/".join(parts))]
