"""A folder belongs to one process at a time, and who comes second is told who has it."""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from eln_kit.faults import Fault, LockedError

PATIENCE = 8  # seconds; the kernel and the loader processes of a command that was killed live on for a moment


@contextmanager
def held(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Make the folder and keep others out of it; a lock goes with its process.

    Raises:
        LockedError: somebody has it, and still has after `patience` seconds.
        Fault: the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / ".lock", "ab+", buffering=0))
            _acquire(file, folder, time.monotonic() + patience)
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}".encode())
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise Fault(f"{folder}: its file system has no locks (flock); set run.folder to one that has") from None
            raise Fault(f"{folder}: cannot be written ({error.strerror}); set run.folder") from None
        yield


def is_held(folder: Path) -> bool:
    """Whether a process works in the folder."""
    try:
        with open(folder / ".lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _acquire(file: IO[bytes], folder: Path, until: float) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                file.seek(0)
                raise LockedError(f"{folder}: in use by {file.read().decode() or 'another process'}") from None
            time.sleep(0.1)
