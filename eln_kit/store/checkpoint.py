"""Checkpoints: written whole or not at all, loaded without running code, and plain about what does not fit.

`checkpoint.pt` is the newest; `checkpoint.1.pt`, `checkpoint.2.pt` ... are those before it, `run.keep` files in all.
They are torch's zip files, whose every part has a checksum.
"""

import os
import pickle
import shutil
import sys
import zipfile
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import torch

from eln_kit import __version__
from eln_kit.faults import CheckpointError
from eln_kit.method.stage import Stage
from eln_kit.params import Params

FILE = "checkpoint.pt"
BEST = "best.pt"
INDIFFERENT = {"root", "workers", "cache", "classes", "labeled_ids", "unlabeled_ids"}  # knobs of data; see check_same
KEYS = {"version", "stage", "step", "steps", "finished", "params", "sections", "classes", "networks"}


def snapshot(stage: Stage, classes: list[str], step: int, **more: Any) -> dict:
    """What a checkpoint of a `Stage` holds after `step` steps; `more` is what training needs to go on."""
    return {
        "version": __version__,
        "stage": stage.name,
        "step": step,
        "steps": stage.steps,
        "finished": step == stage.steps,
        "params": stage.params.model_dump(),
        "sections": list(stage.sections),
        "classes": classes,
        "networks": {part: getattr(stage.networks, part).state_dict() for part in stage.parts},
        **more,
    }


def save(path: Path, state: dict, keep: int = 1) -> None:
    """Write `state` (tensors and plain values) beside `path`, flush it to disk, and rename it to `path`.

    The `keep - 1` checkpoints before it stay, older ones go.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written; the old checkpoint is untouched.
    """
    beside = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        for age in range(keep - 1, 0, -1):
            if (before := _aged(path, age - 1)).exists():
                os.replace(before, _aged(path, age))
        os.replace(beside, path)
        _flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        full = os.path.isdir(path.parent) and shutil.disk_usage(path.parent).free < 2**20
        reason = "no space left on device" if full else getattr(error, "strerror", None) or _first_line(error)
        with suppress(OSError):
            beside.unlink()
        raise CheckpointError(
            f"{path}: could not be written ({reason}); the last checkpoint, if any, is kept"
        ) from None
    for age in count(keep):
        if not _aged(path, age).exists():
            break
        _aged(path, age).unlink()


def load(path: Path, checked: bool = True) -> dict:
    """Read a checkpoint on the CPU with `weights_only=True`, which refuses to run code.

    Where it is cut short or its checksums do not fit, the one before it is read, and a line on stderr says so.
    Not `checked`, its tensors are not read before they are used, so that plain values come at once.

    Raises:
        CheckpointError: it is missing, or it and those before it are cut short, or hold something else.
    """
    files = _ages(path)
    if not files:
        raise CheckpointError(f"{path}: no such checkpoint; run {notebook_of(path.parent.name)} first")
    errors = []
    for file in files:
        try:
            state = _read(file, checked)
        except CheckpointError as error:
            errors.append(error)
            continue
        if errors:
            print(f"{errors[-1]}; going on from {file.name}", file=sys.stderr, flush=True)
        return state
    raise errors[0]


def notebook_of(stage: str) -> str:
    """The notebook that trains a stage."""
    return f"notebooks/{ {'control': '3_semi_supervised', 'bound': '2_error_localization'}.get(stage, stage) }.ipynb"


def exists(path: Path) -> bool:
    """Whether there is a checkpoint, or one before it."""
    return bool(_ages(path))


def _read(path: Path, checked: bool) -> dict:
    try:
        with zipfile.ZipFile(path) as parts:
            if checked and (broken := parts.testzip()):
                raise zlib.error(f"checksum of {broken}")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: not a whole checkpoint, or it holds more than tensors and plain values; delete it to train again"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        reason = _first_line(error)
        raise CheckpointError(f"{path}: not a whole checkpoint ({reason}); delete it to train again") from None
    if not (isinstance(state, dict) and state.keys() >= KEYS):
        raise CheckpointError(f"{path}: not a checkpoint of eln-kit; delete it to train again")
    return state


def is_finished(path: Path) -> bool:
    """Whether there is a checkpoint of a stage's last step."""
    return exists(path) and load(path, checked=False)["finished"]


def check_same(path: Path, state: dict, params: Params) -> None:
    """Refuse a checkpoint of another version, or whose params, in the sections that it depends on, differ from these.

    Where the data and lists of them lie does not matter: class names and the split are checked elsewhere. Nor does the
    folder of initial weights: they are in the run by now.
    """
    check_version(path, state)
    differences = differing(state["params"], params, state["sections"], state["networks"])
    if differences:
        raise CheckpointError(
            f"{path}: made with other params: {'; '.join(differences)}. "
            f"Set them back, choose another run.folder, or delete {path.parent} to train it again"
        )


def check_version(path: Path, state: dict) -> None:
    """Refuse a checkpoint of another version (CheckpointError)."""
    if state["version"] != __version__:
        raise CheckpointError(
            f"{path}: made by eln-kit {state['version']}, and this is {__version__}: install that one to go on, "
            f"choose another run.folder, or delete {path.parent} to train it again"
        )


def differing(before: dict, params: Params, sections: Sequence[str], parts: Collection[str]) -> list[str]:
    """The knobs that a stage of these sections and networks depends on whose values before were others, in words."""
    now, defaults = params.model_dump(), Params().model_dump()
    made_with = {section: defaults.get(section, {}) | values for section, values in before.items()}
    depends = [name.partition(".") for name in (*sections, "run.seed")]
    knobs = [(section, knob) for section, _, one in depends for knob in ([one] if one else made_with[section])]
    if "eln" not in parts:
        knobs = [(section, knob) for section, knob in knobs if not knob.startswith("eln_")]
    return [
        f"{section}.{knob} was {made_with[section][knob]!r} and is {now[section].get(knob)!r}"
        for section, knob in knobs
        if _content(knob, made_with[section][knob]) != _content(knob, now[section].get(knob))
        and (section != "data" or knob not in INDIFFERENT)
    ]


def check_stages(folder: Path, params: Params) -> None:
    """Refuse params other than those that the stages in a run folder were trained with (CheckpointError)."""
    for path in stages(folder):
        check_same(path, load(path), params)


def stages(folder: Path) -> list[Path]:
    """The places of the stages' checkpoints in a run folder."""
    return sorted({file.with_name(FILE) for file in folder.glob("*/checkpoint*.pt")})


def restore(path: Path, networks: torch.nn.Module, states: dict[str, dict]) -> None:
    """Load the parts in `states` into `networks`, each completely; name the first thing that does not fit."""
    for part, state in states.items():
        for name, value in state.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise CheckpointError(f"{path}: its {part} holds NaN or infinite weights ({name}); delete it")
        try:
            getattr(networks, part).load_state_dict(state)
        except RuntimeError as error:
            fault = str(error).splitlines()[1].strip()
            raise CheckpointError(f"{path}: its {part} does not fit the networks of these params: {fault}") from None


def _content(knob: str, value: Any) -> Any:
    return Path(value).name if knob in ("encoder_weights", "eln_weights") else value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _aged(path: Path, age: int) -> Path:
    return path.with_suffix(f".{age}{path.suffix}") if age else path


def _ages(path: Path) -> list[Path]:
    """The checkpoint and those before it that are there, newest first."""
    older = path.parent.glob(f"{path.stem}.*{path.suffix}")
    numbered = [file for file in older if file.suffixes[0][1:].isdigit()]
    return [file for file in (path, *sorted(numbered, key=lambda p: int(p.suffixes[0][1:]))) if file.is_file()]


def _flush_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
