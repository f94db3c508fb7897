"""What this machine computes on: its device, precision, memory layout and memory."""

import ctypes
import sys
from pathlib import Path

import psutil
import torch
from torch import nn

from eln_kit.faults import ParamsError
from eln_kit.params import Run

CGROUPS = [  # limit and use, of versions 2 and 1
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
]
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # names of mallopt's parameters in glibc's malloc.h


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def layout(run: Run) -> torch.memory_format:
    """How images and weights lie in memory."""
    wanted = device().type == "cuda" if run.channels_last == "auto" else run.channels_last
    return torch.channels_last if wanted else torch.contiguous_format


def precision_of(wanted: str, network: nn.Module) -> tuple[str, str]:
    """The precision that `run.precision` stands for, and why; auto is bf16 where that pays.

    It does not for depthwise convolutions on processors with AVX-512 bf16 and without AMX: steps took 1.3 to 1.4 times
    as long (docs/developers.md). Times are not taken here, since results must not depend on them.

    Raises:
        ParamsError: processors have no fp16.
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise ParamsError("run.precision = fp16: needs a GPU; set it to bf16, fp32 or auto")
    if wanted != "auto":
        return wanted, "run.precision"
    if torch.cuda.is_available():
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "this GPU has it") if has_it else ("fp16", "this GPU has no bf16")
    avx, amx = (getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    if not (avx or amx):
        return "fp32", "this processor has no bf16"
    if not amx and any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules()):
        return "fp32", "without AMX bf16 slows depthwise convolutions down"
    return "bf16", "this processor has it"


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its container's where that allows fewer."""
    free = psutil.virtual_memory().available
    for limit, used in CGROUPS:
        try:
            free = min(free, max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
        except (OSError, ValueError):  # no such cgroup, or "max"
            continue
    return free


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
