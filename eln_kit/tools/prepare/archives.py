"""Archives as they are published: fetched, unpacked, and what to say when one is missing or broken."""

import gzip
import os
import shutil
import socket
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, cast

from torchvision.datasets.utils import check_integrity, download_url
from tqdm import tqdm

from eln_kit.faults import DataError
from eln_kit.tools.prepare.files import beside
from eln_kit.tools.prepare.report import Report

Opener = Callable[[], IO[bytes]]
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError)
_SECONDS_OF_SILENCE = 60  # after which a download has failed


@dataclass(frozen=True)
class Archive:
    """A published archive; `inside` is the folder in it that is wanted, `of` tells people where it is to be had."""

    file: str
    inside: str
    url: str = ""
    md5: str | None = None
    of: str = ""


class Source:
    """An archive that lies in `root`, or is fetched to it, and the `folder` that it fills."""

    def __init__(
        self,
        archive: Archive,
        root: Path,
        folder: Path,
        report: Report,
        download: bool = False,
        wanted: Callable[[str], bool] = lambda name: True,
    ):
        self.archive, self.file, self.folder = archive, root / archive.file, folder
        self.report, self.download, self.wanted = report, download and bool(archive.url), wanted
        self.mend = ""  # what a person should do for more; known after `bring`

    def bring(self) -> None:
        """Fetch the archive if asked to and unpack it; does so once, however often it is called."""
        if self.mend:
            return
        self.mend = self._advice()
        try:
            fetched = self.download and not check_integrity(self.file, self.archive.md5)
            if fetched:
                fetch(self.archive, self.file)
            if not self.file.is_file():
                return
            if not fetched and not check_integrity(self.file, self.archive.md5):
                self.report.note("archive", f"{self.file} is not the published one (md5 differs): unpacked and counted")
            unpack(self.file, self.archive.inside, self.folder, self.wanted)
            self.mend = f"{self.file} holds no more: replace it with the published one and run this again"
        except DataError as error:
            self.mend = str(error)

    def _advice(self) -> str:
        root = self.file.parent
        if self.folder.is_relative_to(root) and not self.folder.is_dir():
            for deeper in root.glob(f"*/{self.folder.relative_to(root)}"):
                top = self.folder.relative_to(root).parts[0]
                return f"{deeper} is a folder too deep: move {top} up into {root} and run this again"
        offer = ", or add --download," if self.archive.url and not self.download else ""
        return f"put {self.archive.file}{self.archive.of} into {root}{offer} and run this again"


def fetch(archive: Archive, file: Path) -> None:
    """Download to `file`, with torchvision's code; until the md5 is right it has another name.

    Raises:
        DataError: says why not, and what to fetch by hand.
    """
    part, timeout = file.with_name(f".{file.name}.part"), socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SECONDS_OF_SILENCE)
    try:
        download_url(archive.url, file.parent, part.name, archive.md5)
        os.replace(part, file)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = " ".join(str(error).split()).removeprefix("<urlopen error ").removesuffix(">")
        raise DataError(
            f"{archive.url} could not be fetched ({reason}): get {file.name} by hand, put it into {file.parent} and "
            "run this again"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)


def unpack(file: Path, inside: str, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Write what lies below `inside` in a .tar, .tgz or .zip into `folder`.

    A file that is there in full size is passed over, others are written beside and renamed: stopped halfway, it
    goes on. Only regular files are written, and only below `folder`, so that no archive reaches elsewhere.

    Raises:
        DataError: the archive is cut short, is none, holds nothing below `inside`, or a name that leads out of it.
    """
    found, start = False, PurePosixPath(inside).parts
    try:
        with open(file, "rb") as stream, _bar(file) as bar:
            for name, size, opened in _members(stream, file):
                bar.update(stream.tell() - bar.n)
                parts = PurePosixPath(name).parts
                if name.startswith("/") or ".." in parts:
                    raise DataError(f"{file}: holds {name}, which leads out of the folder: get the published archive")
                if parts[: len(start)] != start or not wanted("/".join(parts[len(start) :])):
                    continue
                found = True
                _write(folder.joinpath(*parts[len(start) :]), size, opened)
    except _BROKEN as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise DataError(f"{file} is not a whole archive ({reason}): get it again and run this again") from None
    if not found:
        raise DataError(f"{file}: holds no {inside}: is it the right archive? Get the published one")


def _members(stream: IO[bytes], file: Path) -> Iterator[tuple[str, int, Opener]]:
    """Name, size and a way to open each regular file, in the archive's order."""
    if file.suffix == ".zip":
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, info.file_size, partial(archive.open, info)
    else:
        with tarfile.open(fileobj=stream) as tar:
            for member in tar:
                if member.isreg():
                    yield member.name, member.size, cast(Opener, partial(tar.extractfile, member))


def _write(path: Path, size: int, opened: Opener) -> None:
    if path.is_file() and path.stat().st_size == size:
        return
    with beside(path) as temporary, opened() as source, open(temporary, "wb") as target:
        shutil.copyfileobj(source, target, 2**20)


def _bar(file: Path) -> tqdm:
    return tqdm(total=file.stat().st_size, desc=f"unpacking {file.name}", unit="B", unit_scale=True, disable=None)
