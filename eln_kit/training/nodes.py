"""Several nodes of one job: the first runs the notebooks, and the others train each stage together with it.

The first keeps a store that all can reach. Whenever it trains a stage it leaves there what to train and where the
launchers meet, and the others come. When it has ended, so has the store, and so do they.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count as count_from
from uuid import uuid4

from torch.distributed import DistError, TCPStore

from eln_kit.faults import WorkerError

PLACE = "ELN_KIT_NODES"  # variable of the processes of such a job: number of nodes, whose turn, and the store
TURN = 0.5  # seconds between looks into the store


@dataclass(frozen=True)
class Meeting:
    """Where the launchers of all nodes meet to train one stage, each with so many processes."""

    processes: int
    arguments: list
    endpoint: str
    id: str


def number() -> int:
    """Of nodes that train together."""
    return _place()[0]


def rank() -> int:
    """Of this node; the first has 0."""
    return _place()[1]


def _place() -> tuple[int, int, str, int]:
    nodes, rank, host, port = os.environ.get(PLACE, "1 0 none 0").split()
    return int(nodes), int(rank), host, int(port)


@contextmanager
def together(nodes: int, rank: int, host: str, port: int) -> Iterator[None]:
    """This process, and those that it starts, are of the node with this rank; the first keeps the store at its host."""
    if nodes == 1:
        yield
        return
    os.environ[PLACE] = f"{nodes} {rank} {host} {port}"
    store = TCPStore(host, port, is_master=True, wait_for_workers=False) if rank == 0 else None
    try:
        yield
    finally:
        del os.environ[PLACE], store


def _store() -> TCPStore:
    _, _, host, port = _place()
    return TCPStore(host, port, is_master=False)  # for five minutes it waits for the first node


def arrange(processes: int, arguments: tuple) -> Meeting:
    """On the first node: have the others come and train with these arguments, which JSON can hold."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    meeting = Meeting(processes, list(arguments), f"{_place()[2]}:{port}", uuid4().hex)
    store = _store()
    store.set(f"meeting {store.add('meetings', 1)}", json.dumps(asdict(meeting)))
    return meeting


def meetings() -> Iterator[Meeting]:
    """On the other nodes: the stages to train, as they come, until the first node has ended."""
    try:
        store = _store()
    except DistError:
        _, _, host, port = _place()
        raise WorkerError(f"the first node could not be reached at {host}:{port}") from None
    try:
        for which in count_from(1):
            while not store.check([f"meeting {which}"]):
                time.sleep(TURN)
            yield Meeting(**json.loads(store.get(f"meeting {which}")))
    except DistError:
        return
