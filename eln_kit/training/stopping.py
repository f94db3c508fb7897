"""Training that is stopped from outside, by a signal or by data that went bad, saves first."""

import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace


@contextmanager
def saved_before(kind: type[Exception], save: Callable[[], None]):
    """Call `save` before an error of this kind goes on its way."""
    try:
        yield
    except kind:
        save()
        raise


@contextmanager
def noted_signals():
    """SIGINT and SIGTERM set `received.signal` instead of stopping a step midway (main thread only)."""
    received = SimpleNamespace(signal=None)
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def remember(number, frame):
        received.signal = number

    old = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
