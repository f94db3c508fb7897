"""Checkpoints: written whole or not at all, loaded without running code, and plain about what does not fit."""

import os
import pickle
import shutil
from pathlib import Path

import torch

from eln_kit import __version__

FILE = "checkpoint.pt"
BEST = "best.pt"
INDIFFERENT = {("data", "root"), ("data", "workers"), ("data", "cache")}  # to what comes out
KEYS = {"stage", "step", "steps", "finished", "params", "sections", "classes", "networks"}


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, broken, or made with other settings; one line that says which and the mend."""


def snapshot(stage, classes: list[str], step: int, **more) -> dict:
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


def save(path: Path, state: dict) -> None:
    """Write `state` (tensors and plain values) beside `path`, flush it to disk, and rename it over `path`.

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
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
        full = shutil.disk_usage(path.parent).free < 2**20
        reason = "no space left on device" if full else getattr(error, "strerror", None) or _first_line(error)
        beside.unlink(missing_ok=True)
        raise CheckpointError(
            f"{path}: could not be written ({reason}); the last checkpoint, if any, is kept"
        ) from None


def load(path: Path) -> dict:
    """Read a checkpoint on the CPU with `weights_only=True`, which refuses to run code.

    Tensors are mapped from the file, so looking at the rest of a large checkpoint is quick.

    Raises:
        CheckpointError: it is missing, cut short, or holds something else.
    """
    if not path.is_file():
        maker = "3_semi_supervised" if path.parent.name == "control" else path.parent.name
        raise CheckpointError(f"{path}: no such checkpoint; run notebooks/{maker}.ipynb first")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path}: not a whole checkpoint, or it holds more than tensors and plain values; delete it to train again"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = _first_line(error)
        raise CheckpointError(f"{path}: not a whole checkpoint ({reason}); delete it to train again") from None
    if not (isinstance(state, dict) and state.keys() >= KEYS):
        raise CheckpointError(f"{path}: not a checkpoint of eln-kit; delete it to train again")
    return state


def is_finished(path: Path) -> bool:
    """Whether there is a checkpoint of a stage's last step."""
    return path.is_file() and load(path)["finished"]


def check_same(path: Path, made_with: dict, now: dict, sections: tuple[str, ...]) -> None:
    """Refuse a checkpoint whose params, in the sections that its result depends on, differ from those of now.

    Where the data lie does not matter: class names and the split are checked elsewhere.
    """
    knobs = [(section, knob) for section in sections for knob in made_with[section]] + [("run", "seed")]
    differences = [
        f"{section}.{knob} was {made_with[section][knob]!r} and is {now[section].get(knob)!r}"
        for section, knob in knobs
        if made_with[section][knob] != now[section].get(knob) and (section, knob) not in INDIFFERENT
    ]
    if differences:
        raise CheckpointError(
            f"{path}: made with other params: {'; '.join(differences)}. "
            f"Set them back, choose another run.folder, or delete {path.parent} to train it again"
        )


def restore(path: Path, networks: torch.nn.Module, states: dict[str, dict]) -> None:
    """Load the parts in `states` into `networks`, each completely; name the first thing that does not fit."""
    for part, state in states.items():
        try:
            getattr(networks, part).load_state_dict(state)
        except RuntimeError as error:
            fault = str(error).splitlines()[1].strip()
            raise CheckpointError(f"{path}: its {part} does not fit the networks of these params: {fault}") from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
