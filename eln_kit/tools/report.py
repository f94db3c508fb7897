"""What a person reads while data are made ready: an aligned line a thing, and at the end whether they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from eln_kit.faults import DataError


class Report:
    """Prints each line as soon as it is known; `faults` counts those that a person has to mend."""

    def __init__(self) -> None:
        self.faults = 0

    def tell(self, kind: Literal["ok", "note", "fix"], what: str, said: str) -> None:
        self.faults += kind == "fix"
        print(f"{kind:<6}{what:<15}{said}", flush=True)

    @contextmanager
    def mending(self, what: str, place: Path, then: str) -> Iterator[None]:
        """What goes wrong inside is a line to mend; `then` is what to do after a file could not be used."""
        try:
            yield
        except DataError as error:
            self.tell("fix", what, str(error))
        except OSError as error:
            self.tell("fix", what, f"{error.filename or place}: {error.strerror or error}; fix that{then}")

    def close(self, root: Path) -> None:
        lines = "the line" if self.faults == 1 else f"the {self.faults} lines"
        print(f"not ready: {lines} above that begin with `fix`" if self.faults else f"ready: set data.root to {root}")
