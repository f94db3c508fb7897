"""Long work beside a notebook's controls: computed and shown piece by piece, in one thread of its own."""

import atexit
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from eln_kit.faults import Fault


@dataclass(frozen=True)
class Work:
    """Pieces that take long, each with a function that shows what came out; not begun before a time of the clock."""

    pieces: Iterator[Callable[[], None]]
    begins: float
    idle: bool


class Worker:
    """Takes turns between works, a piece and its showing at a time.

    Every method may be called from any thread: messages of controls come in the kernel's main thread or, by today's
    JupyterLab, in those of its subshells. Only the worker's own thread computes. What shows something holds
    `showing`, so that no two threads draw at once.

    Args:
        failed: told the name of a work that ended early, and in a line why.
    """

    def __init__(self, failed: Callable[[str, str], None]):
        self.failed = failed
        self.showing = threading.RLock()
        self.works: dict[str, Work] = {}  # the next turn is the first one's
        self.changed = threading.Condition()
        self.open = True
        self.thread = threading.Thread(target=self._run, name="error lab", daemon=True)
        self.thread.start()
        atexit.register(self.close)  # a thread that computes must not outlive the interpreter

    def start(self, name: str, pieces: Iterator[Callable[[], None]], after: float = 0.0, idle: bool = False) -> None:
        """Begin some work in place of what runs under the same name, of which the piece at hand shows nothing more.

        Args:
            after: seconds to wait, in which it may be replaced.
            idle: whether it has a turn only where no other work wants one.
        """
        with self.changed:
            self.works.pop(name, None)
            self.works[name] = Work(pieces, time.monotonic() + after, idle)
            self.changed.notify()

    def stop(self, name: str) -> None:
        with self.changed:
            self.works.pop(name, None)

    def busy(self) -> bool:
        """Whether there is work to wait for."""
        with self.changed:
            return not all(work.idle for work in self.works.values())

    def at_once(self, name: str, show: Callable[[], None]) -> None:
        """Show something quick without waiting for a turn, in the thread of the control that asks for it."""
        try:
            with self.showing:
                show()
        except Exception as error:
            self._tell(name, error)

    def close(self) -> None:
        """End all work and the thread."""
        with self.changed:
            self.open = False
            self.works.clear()
            self.changed.notify()
        if self.thread is not threading.current_thread():
            self.thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        while self._take(*self._turn()):
            pass

    def _take(self, name: str, work: Work | None) -> bool:
        """A piece of some work, and its showing if it was not replaced meanwhile; what has ended is forgotten.

        False: there is no work any more.
        """
        if work is None:
            return False
        try:
            show = next(work.pieces, None)
            with self.showing:
                if show and self.works.get(name) is work:
                    show()
        except Exception as error:
            show = None
            if self.works.get(name) is work:  # one that was replaced ends unheard
                self._tell(name, error)
        if show is None:
            with self.changed:
                if self.works.get(name) is work:
                    del self.works[name]
        return True

    def _turn(self) -> tuple[str, Work | None]:
        """The work whose turn it is, moved to the end; waits for one. None when the worker is closed."""
        with self.changed:
            while self.open:
                now = time.monotonic()
                ready = [name for name, work in self.works.items() if work.begins <= now]
                if ready:
                    name = min(ready, key=lambda name: self.works[name].idle)  # the first of those that are not
                    self.works[name] = work = self.works.pop(name)
                    return name, work
                self.changed.wait(min((work.begins - now for work in self.works.values()), default=None))
            return "", None

    def _tell(self, name: str, error: Exception) -> None:
        """An unexpected error's traceback goes into the server's log."""
        if not isinstance(error, Fault):
            traceback.print_exception(error, file=sys.__stderr__)
        line = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        with self.showing:
            self.failed(name, line)
