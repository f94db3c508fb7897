"""Text files that list images, one a line."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from eln_kit.data.items import IMAGE_SUFFIXES, Item
from eln_kit.faults import DataError


def read_ids(file: Path) -> list[str]:
    """The first word of each line, in order and once; blank lines and what follows `#` are passed over.

    Raises:
        DataError: the file is missing, is no text, or names nothing.
    """
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        raise DataError(f"{file}: no such list of ids") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as a list of ids: {error}") from None
    words = [line.partition("#")[0].split() for line in lines]
    ids = list(dict.fromkeys(word[0] for word in words if word))
    if not ids:
        raise DataError(f"{file}: names no image; write one id a line")
    return ids


def find_items(names: Iterable[str], items: list[Item], source: Path) -> list[Item]:
    """The items that a list names by id, by file (`JPEGImages/2007_000032.jpg`) or by the end of an id.

    Raises:
        DataError: names `source` and the id that no item or more than one item has.
    """
    by_id = {item.id: item for item in items}
    by_end: dict[str, list[Item]] = {}
    for item in items:
        by_end.setdefault(PurePosixPath(item.id).name, []).append(item)
    found = {}
    for name in names:
        item = by_id.get(name) or _find(name, by_id, by_end, source)
        found[item.id] = item
    return list(found.values())


def _find(name: str, by_id: dict[str, Item], by_end: dict[str, list[Item]], source: Path) -> Item:
    path = PurePosixPath(name)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    parts = path.with_name(path.name.removesuffix("_leftImg8bit")).parts
    for start in range(len(parts)):  # the longest end of the path that is an id
        if item := by_id.get("/".join(parts[start:])):
            return item
    ends = [i for i in by_end.get(parts[-1], []) if i.id.endswith("/" + "/".join(parts))]
    if len(ends) > 1:
        raise DataError(f"{source}: {name} fits {ends[0].id} and {ends[1].id}; write the whole id")
    if not ends:
        raise DataError(f"{source}: {name} is no training image of this data set; mend the list, or add the image")
    return ends[0]
