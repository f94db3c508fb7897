"""Where relative paths in params start, and how small files are written."""

import os
from pathlib import Path


def project_root() -> Path:
    """The nearest folder at or above the working one that has `params/` and `notebooks/`, else the working one.

    Relative paths in params start here, so that a notebook in `notebooks/` and a command at the top agree.
    """
    here = Path.cwd()
    found = (f for f in (here, *here.parents) if (f / "params").is_dir() and (f / "notebooks").is_dir())
    return next(found, here)


def resolve(path: str | Path) -> Path:
    """A path from params as an absolute one; `~` is the home folder."""
    return (project_root() / Path(path).expanduser()).resolve()


def write_whole(path: Path, text: str) -> None:
    """Write beside `path`, flush to disk and rename: a kill or a full disk leaves the earlier file (OSError)."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(beside, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
