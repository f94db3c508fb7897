"""What this machine computes on: its device, precision and memory layout."""

import torch

from eln_kit.faults import ParamsError
from eln_kit.params import Run


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def layout(run: Run) -> torch.memory_format:
    """How images and weights lie in memory."""
    wanted = device().type == "cuda" if run.channels_last == "auto" else run.channels_last
    return torch.channels_last if wanted else torch.contiguous_format


def precision_of(wanted: str) -> str:
    """The precision that `run.precision` stands for; auto is bf16 where the hardware computes in it.

    Raises:
        ParamsError: processors have no fp16.
    """
    if wanted == "fp16" and not torch.cuda.is_available():
        raise ParamsError("run.precision = fp16: needs a GPU; set it to bf16, fp32 or auto")
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    has_it = any(getattr(torch.cpu, f"_is_{name}_supported", bool)() for name in ("avx512_bf16", "amx_tile"))
    return "bf16" if has_it else "fp32"
