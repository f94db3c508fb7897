"""Long work beside a notebook's controls: computed in a thread, shown in the kernel's own."""

import asyncio
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from eln_kit.faults import Fault


class Worker:
    """Drives generators whose pieces take long and which yield functions that show what came out.

    All pieces run in one thread of their own, and what they yield is called by the kernel's event loop, between the
    controls' messages. Work under several names takes turns, a piece and its showing at a time. So controls stay
    usable, nothing piles up, a look waits for a step of a training and not for its end, and no two of all these meet.
    """

    def __init__(self, failed: Callable[[str], None]):
        self.failed = failed
        self.thread = ThreadPoolExecutor(1, "error lab")
        self.turn = asyncio.Lock()  # first come, first served
        self.tasks: dict[str, asyncio.Task] = {}

    def start(self, name: str, pieces: Iterator[Callable[[], None]]) -> None:
        """Begin some work in place of what runs under the same name, of which the piece at hand is still done."""
        self.stop(name)
        self.tasks[name] = asyncio.get_running_loop().create_task(self._drive(pieces))

    def stop(self, name: str) -> None:
        if name in self.tasks:
            self.tasks.pop(name).cancel()

    def busy(self, name: str) -> bool:
        return name in self.tasks and not self.tasks[name].done()

    async def _drive(self, pieces: Iterator[Callable[[], None]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                async with self.turn:
                    show = await loop.run_in_executor(self.thread, next, pieces, None)
                    if show is None:
                        return
                    show()
                await asyncio.sleep(0)
        except Fault as error:
            self.failed(str(error))
        except Exception as error:
            self.failed(f"{type(error).__name__}: {error}")
            traceback.print_exc(file=sys.__stderr__)  # the server's log
