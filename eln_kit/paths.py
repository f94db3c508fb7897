"""Where notebooks, params and runs lie, and how small files are written."""

import codecs
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from eln_kit.faults import Fault

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 60  # bytes of the folder of temporary files; names of sockets add some 40
SHIPPED = ("notebooks", "params")  # folders that come with the package


def project_root() -> Path:
    """The nearest folder at or above the working one that has `params/` and `notebooks/`, else the working one.

    Relative paths in params start here, so that a notebook in `notebooks/` and a command at the top agree.
    """
    here = Path.cwd()
    roots = (f for f in (here, *here.parents) if all((f / name).is_dir() for name in SHIPPED))
    return next(roots, here)


def shipped() -> Path:
    """The folder of `notebooks/` and `params/` that the package was installed with: a clone, or a part of a wheel."""
    package = Path(__file__).parent
    return package / "shipped" if (package / "shipped").is_dir() else package.parent


def resolve(path: str | Path) -> Path:
    """A path from params as an absolute one; `~` is the home folder."""
    return (project_root() / Path(path).expanduser()).resolve()


def locate(file: str | Path) -> Path:
    """A params or sweep file by its path or by its name, such as `shapes` or `sweeps/detectors`.

    It is looked for in the working folder, in the project's, then among those that came with the package. Where it is
    in none of them, the path as it was given.
    """
    file = Path(file).expanduser()
    named = (file, Path("params", file), Path("params", f"{file}.yaml"))
    places = [file, *(root / name for root in (project_root(), shipped()) for name in named)]
    return next((candidate for candidate in places if candidate.is_file()), file)


def resolve_shipped(file: str) -> Path:
    """A file that params name, as `resolve` has it; where it is not there, the one that came with the package."""
    mine, theirs = resolve(file), shipped() / file
    return theirs if theirs.is_file() and not mine.is_file() else mine


def copy_shipped(folder: Path) -> list[Path]:
    """Copy `notebooks/` and `params/` as they came with the package; gives back the new folders.

    Raises:
        Fault: one of them already exists, or cannot be written.
    """
    targets = [folder / name for name in SHIPPED]
    for target in targets:
        if target.exists():
            raise Fault(f"{target}: already exists; choose another folder, or move it away")
    with writing(folder):
        skipped = shutil.ignore_patterns(".*", "__pycache__")
        return [Path(shutil.copytree(shipped() / target.name, target, ignore=skipped)) for target in targets]


def link(source: Path, target: Path) -> None:
    """Put a file at a second place too, whatever is there; a copy where hard links are not possible (OSError)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and source.samefile(target):
        return
    beside = target.with_name(f".{os.getpid()}.{threading.get_ident()}")
    try:
        os.link(source.resolve(), beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)


def shorten_temporaries() -> None:
    """Have sockets lie in /tmp where the folder for temporary files has a name too long for them (of 108 bytes)."""
    if len(tempfile.gettempdir()) > LONGEST and os.access("/tmp", os.W_OK):
        tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"


def text_of(file: Path) -> str:
    """Text in UTF-8, in UTF-16 with its mark, or, as older systems write names, in GB 2312 or Latin-1.

    Raises: OSError; ValueError where it is no text.
    """
    content = file.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("it is no text")
    accents = re.search(rb"[A-Za-z][\x80-\xff]|[\x80-\xff][A-Za-z]", content)  # in a word of Latin letters
    for encoding in ("utf-8-sig", *([] if accents else ["gb2312"])):
        with suppress(UnicodeDecodeError):
            return content.decode(encoding)
    return content.decode("latin-1")


@contextmanager
def writing(path: Path, mend: str = "", kind: type[Fault] = Fault) -> Iterator[None]:
    """An OSError inside is one line about `path`, and what to do about it: a Fault of this kind."""
    try:
        yield
    except OSError as error:
        raise kind(f"{path}: cannot be written ({error.strerror or error}){mend}") from None


def write_picture(path: Path, picture: "Image") -> None:
    """As a PNG, whole or not at all."""
    content = BytesIO()
    picture.save(content, "PNG")
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside `path`, flush to disk and rename: a kill or a full disk leaves the earlier file (OSError).

    Its folder is made. The name beside is short, since a name of 255 bytes is as long as it may be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{os.getpid()}.{threading.get_ident()}")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
