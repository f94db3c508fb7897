"""Where relative paths in params start."""

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
