"""How a process on a processor deals with the memory of its tensors."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # names of mallopt's parameters in glibc's malloc.h


def keep_freed() -> None:
    """Have the C library keep freed memory for the next tensors; by default it gives large pieces back at once.

    Getting them back, page by page, costs 5 to 15 % of a training step on a processor. Elsewhere than on Linux with
    glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(MMAP_THRESHOLD, 2**25)  # the most it takes
        mallopt(TRIM_THRESHOLD, 2**31 - 1)
        mallopt(TOP_PAD, 2**26)
