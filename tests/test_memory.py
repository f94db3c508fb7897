import multiprocessing
import resource
import sys

import pytest
import torch

from eln_kit.memory import keep_freed


def pages_of_a_second_tensor(keeping: bool, answer) -> None:
    if keeping:
        keep_freed()
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**21)  # 8 MiB, freed at once: 2048 pages of 4 KiB
    answer.put(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


@pytest.mark.skipif(sys.platform != "linux", reason="what the C library does is known of Linux alone")
def test_memory_of_a_freed_tensor_is_used_again_without_the_system():
    context = multiprocessing.get_context("spawn")
    pages = {}
    for keeping in (False, True):
        answer = context.SimpleQueue()
        process = context.Process(target=pages_of_a_second_tensor, args=(keeping, answer))
        process.start()
        process.join()
        pages[keeping] = answer.get()
    assert pages[True] < 100 < 1500 < pages[False]
