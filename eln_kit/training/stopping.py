"""Training that is stopped from outside, by a signal or by data that went bad, saves first."""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def saved_before(kind: type[Exception], save: Callable[[], None]) -> Iterator[None]:
    """Call `save` before an error of this kind goes on its way."""
    try:
        yield
    except kind:
        save()
        raise


@contextmanager
def noted_signals() -> Iterator[SimpleNamespace]:
    """The signals of `STOPS` set `received.signal` instead of stopping a step midway (main thread only)."""
    received = SimpleNamespace(signal=None)

    def remember(number: int, _frame: object) -> None:
        received.signal = number
        leave_closed_terminal()

    with handled(remember):
        yield received


@contextmanager
def handled(handler: Any, numbers: Sequence[signal.Signals] = STOPS) -> Iterator[None]:
    """Let `handler` have these signals, but for a SIGHUP that is ignored, as under nohup (main thread only)."""
    is_main = threading.current_thread() is threading.main_thread()
    wanted = [number for number in numbers if is_main and (number != signal.SIGHUP or hangs_up())]
    before = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def ignored(*numbers: signal.Signals) -> AbstractContextManager[None]:
    """What is started meanwhile ignores these signals, which reach a whole job or terminal (main thread only)."""
    return handled(signal.SIG_IGN, numbers)


def hangs_up() -> bool:
    """Whether a closed terminal is to end this process; under nohup it is not."""
    return signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def leave_closed_terminal() -> None:
    """After SIGHUP writing to the terminal would raise, so output goes nowhere."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
