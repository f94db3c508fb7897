"""Folders of ten thousand files, listed without a look at each of them."""

import os
from pathlib import Path, PurePath

NOT_OURS = (".", "@eaDir", "__MACOSX")  # hidden files, and what a NAS and a Mac add to folders


def is_ours(place: PurePath) -> bool:
    """Whether a path below a data set is a person's own file."""
    return not any(part.startswith(NOT_OURS) for part in place.parts)


def names_in(folder: Path) -> list[str]:
    """The names in a folder, in order and of a person's own files; [] where there is no such folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith(NOT_OURS))
    except (FileNotFoundError, NotADirectoryError):
        return []
