import subprocess
import sys

import pytest

PAGES = """
import ctypes, resource, sys
from eln_kit.device import keep_freed

c = ctypes.CDLL(None)
c.malloc.restype, c.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
c.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
if sys.argv[1] == "keep":
    keep_freed()
blocks = [0] * 20
for step in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for place in range(20):
        blocks[place] = c.malloc(4 * 2**20)
        c.memset(blocks[place], 1, 4 * 2**20)
    for block in blocks:
        c.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_of_a_later_step(how: str) -> int:
    """Pages that the system hands out anew, the same 20 blocks of 4 MiB having been freed before."""
    return int(subprocess.run([sys.executable, "-c", PAGES, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what the C library does is known of Linux alone")
def test_freed_memory_is_used_again_without_the_system():
    assert pages_of_a_later_step("keep") < 500 < 10_000 < pages_of_a_later_step("default")
