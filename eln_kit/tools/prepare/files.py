"""Many files written: each one whole or not at all, in threads, with a bar where a person watches."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write to: renamed to `path` at the end of the block, or removed when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def in_threads(function: Callable, items: list, name: str) -> None:
    """Call `function` on each item; the first that fails, or Ctrl-C, stops the others."""
    with ThreadPoolExecutor() as pool, tqdm(total=len(items), desc=name, unit="file", disable=None) as bar:
        try:
            for _ in pool.map(function, items):
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
