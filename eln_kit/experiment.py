"""A run folder and what belongs to it: params, data, split, networks, and each stage's results."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from eln_kit import checkpoint
from eln_kit.data import DataError, DataSet, Split, load_split, make_split, open_dataset, save_split
from eln_kit.log import TrainingError
from eln_kit.models import Networks
from eln_kit.params import Params, ParamsError
from eln_kit.paths import resolve

EXPECTED = (ParamsError, DataError, checkpoint.CheckpointError, TrainingError)  # each message is one line for a person


@dataclass(frozen=True)
class Experiment:
    """What every notebook opens first."""

    params: Params
    folder: Path
    dataset: DataSet
    split: Split

    def networks(self, after: str | None = None) -> Networks:
        """New networks; `after` names the stage whose finished checkpoint they continue from.

        Raises:
            CheckpointError: that stage has not finished, or its checkpoint was made with other params.
        """
        networks = Networks(self.params, len(self.dataset.classes)).to(device())
        if after is not None:
            path = self.folder / after / checkpoint.FILE
            state = checkpoint.load(path)
            if not state["finished"]:
                raise checkpoint.CheckpointError(
                    f"{path}: stopped at step {state['step']}; run notebooks/{after}.ipynb to its end first"
                )
            self.check(path, state)
            checkpoint.restore(path, networks, state["networks"])
            if "teacher" not in state["networks"]:
                networks.restart_teacher()
        return networks

    def check(self, path: Path, state: dict) -> None:
        """Refuse a checkpoint that was made with another data set or with other params."""
        if state["classes"] != self.dataset.classes:
            raise checkpoint.CheckpointError(
                f"{path}: made for {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...), "
                f"not for the {len(self.dataset.classes)} of {self.dataset.name}; choose another run.folder"
            )
        checkpoint.check_same(path, state["params"], self.params.model_dump(), tuple(state["sections"]))

    def records(self, stage: str) -> list[dict]:
        """The lines of a stage's `metrics.jsonl`; empty when it has none."""
        path = self.folder / stage / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write(self, name: str, results: dict) -> dict:
        """Write results as JSON into the run folder (`4_evaluate/results.json`) and give them back."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1))
        return results


def open_experiment(params: Params) -> Experiment:
    """Open the run folder of `params`, the data set, and the split, which is made once and then kept in the run.

    Raises:
        ParamsError: the run folder cannot be written.
        DataError: the data set cannot be used.
    """
    folder = resolve(params.run.folder)
    dataset = open_dataset(params.data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "Permission denied")
        split = _split(folder / "split.json", dataset, params)
    except OSError as error:
        raise ParamsError(f"run.folder = {folder}: cannot be written ({error.strerror})") from None
    return Experiment(params, folder, dataset, split)


def check_stages(folder: Path, params: Params) -> None:
    """Refuse params other than those that the stages in a run folder were trained with (CheckpointError)."""
    for path in sorted(folder.glob(f"*/{checkpoint.FILE}")):
        state = checkpoint.load(path)
        checkpoint.check_same(path, state["params"], params.model_dump(), tuple(state["sections"]))


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _split(path: Path, dataset: DataSet, params: Params) -> Split:
    """The split in the run folder; at the first time, and to check that the data knobs still ask for it, a draw."""
    wanted = make_split(dataset, params.data)
    if not path.exists():
        save_split(wanted, path)
    elif load_split(dataset, path) != wanted:
        raise ParamsError(f"{path}: the data knobs ask for another split now; choose another run.folder or delete it")
    return wanted
