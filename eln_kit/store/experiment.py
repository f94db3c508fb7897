"""A run folder and what belongs to it: params, data, split, networks, and each stage's results."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from eln_kit.data import (
    DataSet,
    Item,
    Split,
    class_weights,
    deciding,
    largest_shares,
    lists_at_hand,
    load_split,
    make_split,
    open_dataset,
    save_split,
)
from eln_kit.data.extra import checksums, extra_items
from eln_kit.data.splits import check_held_out, held_out
from eln_kit.device import device
from eln_kit.faults import CheckpointError, DataError, ParamsError
from eln_kit.method.stages import Bound, stages_of
from eln_kit.models import Networks
from eln_kit.params import Params
from eln_kit.paths import resolve, resolve_shipped, write_whole
from eln_kit.store import checkpoint
from eln_kit.store.params_file import Knobs, build, load

CLASSES = "classes.yaml"  # a run's copy of `data.classes`


@dataclass(frozen=True)
class Experiment:
    """What every notebook opens first."""

    params: Params
    folder: Path
    dataset: DataSet
    split: Split

    @property
    def held_out(self) -> list[Item]:
        """Labelled images that no stage trains on: `data.held_out` of them; see `held_out`."""
        return held_out(self.split.labeled, self.dataset, self.params.data.held_out)

    @property
    def labeled(self) -> list[Item]:
        """The labelled images to train on."""
        left_out = set(self.held_out)
        return [item for item in self.split.labeled if item not in left_out]

    @property
    def bounded(self) -> bool:
        """Whether the bound is asked for and can learn: some unlabelled image has a mask."""
        return Bound in stages_of(self.params, self.split)

    @cached_property
    def extra(self) -> list[Item]:
        """Unlabelled images with a mask of `data.extra_masks`, which the stages learn from as if it were real.

        Raises:
            DataError: the masks are not those that the run began with.
        """
        items, kept = extra_items(self.split, self.params.data), self.folder / "extra_masks.json"
        if items and not kept.is_file():
            self.write(kept.name, checksums(items))
        if items and json.loads(kept.read_text()) != checksums(items):
            raise DataError(
                f"data.extra_masks = {self.params.data.extra_masks}: has other masks than the run began with; choose "
                "another run.folder"
            )
        return items

    @cached_property
    def class_weights(self) -> Tensor | None:
        """Of the cross-entropy, float `C`, by the labelled images to train on; None where all weigh the same."""
        weighted = self.params.optimizer.class_weights == "sqrt"
        return class_weights(self.labeled, self.dataset) if weighted else None

    @cached_property
    def largest_shares(self) -> Tensor | None:
        """Of labelled crops, float `C`, for `semi_supervised.image_gate`; None without one."""
        gated = self.params.semi_supervised.image_gate == "class_shares"
        return largest_shares(self.labeled, self.dataset, self.params) if gated else None

    def has_finished(self, stage: str) -> bool:
        """Whether there is a checkpoint of a stage's last step."""
        return checkpoint.is_finished(self.folder / stage / checkpoint.FILE)

    def networks(self, after: str | None = None, best: bool = False) -> Networks:
        """New networks; `after` names the finished stage they continue from, with its last or its best step.

        Without it they begin with the student of `run.start_from`, if a run is named there. Initial weights are read
        for what no stage of the run has trained yet.

        Raises:
            CheckpointError: that stage has not finished, or its checkpoint was made with other params.
        """
        networks = Networks(without_trained(self.params), len(self.dataset.classes)).to(device())
        begun = checkpoint.exists(self.folder / "1_supervised" / checkpoint.FILE)
        start = None if begun or after else self.params.run.start_from
        if start or after:
            folder = resolve(start) / "1_supervised" if start else self.folder / str(after)
            path = folder / (checkpoint.BEST if best else checkpoint.FILE)
            state = checkpoint.load(path)
            if not (state["finished"] or best):
                raise CheckpointError(
                    f"{path}: stopped at step {state['step']}; run {checkpoint.notebook_of(folder.name)} to its end "
                    "first"
                )
            self.check(path, state)
            checkpoint.restore(path, networks, state["networks"])
            if "teacher" not in state["networks"]:
                networks.restart_teacher()
        return networks

    def check(self, path: Path, state: dict) -> None:
        """Refuse a checkpoint that was made with another data set or with other params."""
        if state["classes"] != self.dataset.classes:
            raise CheckpointError(
                f"{path}: made for {len(state['classes'])} classes ({', '.join(state['classes'][:3])}, ...), "
                f"not for the {len(self.dataset.classes)} of {self.dataset.name}; choose another run.folder"
            )
        checkpoint.check_same(path, state, self.params)

    def records(self, stage: str) -> list[dict]:
        """The lines of a stage's `metrics.jsonl`; empty when it has none."""
        path = self.folder / stage / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write(self, name: str, results: dict) -> dict:
        """Write results as JSON into the run folder (`4_evaluate/results.json`) and give them back."""
        write_whole(self.folder / name, json.dumps(results, indent=1))
        return results


def open_experiment(params: Params, only_read: bool = False) -> Experiment:
    """Open the run folder of `params`, the data set, and the split, which is made once and then kept in the run.

    Args: only_read: the folder may be one that cannot be written.

    Raises:
        ParamsError: the run folder cannot be written.
        DataError: the data set cannot be used.
    """
    folder = resolve(params.run.folder)
    dataset = dataset_of(params)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
        if not (writable or only_read):
            raise PermissionError(None, "Permission denied")
        if writable and params.data.classes and (file := resolve_shipped(params.data.classes)).is_file():
            write_whole(folder / CLASSES, file.read_bytes())
        split = split_of(folder, dataset, params, keep=writable)
    except OSError as error:
        raise ParamsError(f"run.folder = {folder}: cannot be written ({error.strerror})") from None
    check_held_out(params, split, dataset)
    return Experiment(params, folder, dataset, split)


def dataset_of(params: Params) -> DataSet:
    """The data set, with the run's own copy of `data.classes` where that file is gone; raises DataError."""
    data, kept = params.data, resolve(params.run.folder) / CLASSES
    if data.classes and kept.is_file() and not resolve_shipped(data.classes).is_file():
        data = data.model_copy(update={"classes": str(kept)})
    return open_dataset(data)


def without_trained(params: Params) -> Params:
    """Params that name no initial weights of networks that a stage in the run folder holds trained."""
    folder = resolve(params.run.folder)
    trained_by = {"encoder_weights": "1_supervised", "eln_weights": "2_error_localization"}
    blank = {knob: "none" for knob, stage in trained_by.items() if checkpoint.exists(folder / stage / checkpoint.FILE)}
    return params.model_copy(update={"model": params.model.model_copy(update=blank)})


def reopen(folder: Path, knobs: Knobs = ()) -> Experiment:
    """Open a run folder with the params it was made with, but for `knobs`.

    Raises:
        ParamsError: it is no run folder, or a knob is wrong.
        DataError: the data set cannot be used.
    """
    return open_experiment(load_params(folder, knobs), only_read=True)


def load_params(folder: Path, knobs: Knobs = ()) -> Params:
    """A run folder's params, wherever it lies now; where no params.yaml was written, those of its last stage."""
    file, here = folder / "params.yaml", {"run.folder": str(folder.resolve())}
    stages = [path for path in checkpoint.stages(folder) if path.parent.name[0] in "123"]
    if not (file.is_file() or stages):
        raise ParamsError(f"{folder}: no run is there; eln-kit run makes one")
    try:
        params = load(file, knobs) if file.is_file() else build(checkpoint.load(stages[-1])["params"], knobs)
    except ParamsError:
        if stages:  # another version has other knobs
            checkpoint.check_version(stages[-1], checkpoint.load(stages[-1], checked=False))
        raise
    return build(params.model_dump(), here)


def split_of(folder: Path, dataset: DataSet, params: Params, keep: bool = True) -> Split:
    """The split in a run folder; made the first time, and made again to compare when what decides it has changed.

    Raises:
        ParamsError: it has changed.
    """
    path = folder / "split.json"
    kept = load_split(dataset, path) if path.exists() else None
    made_with, then = deciding(dataset, params.data), kept and kept.made_with
    if kept and then == made_with and not lists_at_hand(dataset, params.data):  # lists may be edited
        return kept
    wanted = make_split(dataset, params.data)
    if kept and kept != wanted:
        raise ParamsError(
            f"{path}: the data knobs ask for another split now{_changes(then or {}, made_with)}; "
            "choose another run.folder or delete it"
        )
    if keep and then != made_with:
        save_split(wanted, path, made_with)
    return wanted


def _changes(then: dict, now: dict) -> str:
    """` (labels was 4 and is 5)`, or nothing where that is not known."""
    names = [name for name in now if name in then and then[name] != now[name]]
    return f" ({', '.join(f'{name} was {then[name]!r} and is {now[name]!r}' for name in names)})" if names else ""
