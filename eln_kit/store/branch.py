"""Runs that go on from another run's finished stages: `run.start_from`, and runs of a sweep that share a stage."""

import re
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path

from eln_kit.data import load_split
from eln_kit.faults import CheckpointError, DataError, ParamsError
from eln_kit.method.stages import STAGES
from eln_kit.params import Params
from eln_kit.paths import link, resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, dataset_of, load_params, open_experiment, split_of
from eln_kit.store.params_file import build

PLACES = {"run.folder", "run.start_from"}


def branched(params: Params) -> Params:
    """With `run.start_from` and that run's own folder, a new folder beside it, named after the knobs that changed.

    Raises:
        ParamsError: `run.start_from` is no run folder, or its stage 1 is not what these params would come to.
    """
    source = params.run.start_from
    if not source or _has_begun(params):
        return params
    _check(params, resolve(source))
    if resolve(source) != resolve(params.run.folder):
        return params
    before, now = load_params(resolve(source)).flat(), params.flat()
    last = {name: name.partition(".")[2] for name in now}
    alike = Counter(last.values())
    changed = {
        name if alike[last[name]] > 1 else last[name]: value
        for name, value in now.items()
        if value != before[name] and name not in PLACES
    }
    if not changed:
        raise ParamsError(f"run.start_from = {source}: no knob differs from that run's; change one, or set run.folder")
    name = re.sub(r"[^\w.=,-]+", "", "_".join(f"{knob}={value}" for knob, value in changed.items()))[:100]
    return build(params.model_dump(), {"run.folder": f"{source.rstrip('/')}_{name}"})


def open_branch(params: Params) -> Experiment:
    """Open the experiment; the finished stages of `run.start_from` that its knobs do not touch are taken over.

    Where there are other labels now, none is, and stage 1 begins with that run's student.
    """
    source = resolve(params.run.start_from) if params.run.start_from else None
    if source and source != (folder := resolve(params.run.folder)) and not (folder / "split.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(DataError, ParamsError, FileNotFoundError):  # other labels, or it is told below
            split_of(source, dataset_of(params), params, keep=False)
            shutil.copy(source / "split.json", folder)  # an imported run has none
    experiment = open_experiment(params)
    if source and same_labels(source, experiment):
        for stage in STAGES:
            take_over(stage, source, experiment)
    return experiment


def same_labels(source: Path, experiment: Experiment) -> bool:
    """Whether another run's folder has this experiment's labelled and unlabelled images."""
    path = source / "split.json"
    with suppress(DataError):  # images that are gone
        return not path.exists() or load_split(experiment.dataset, path) == experiment.split
    return False


def _has_begun(params: Params) -> bool:
    """Whether the run folder is of this branch already, which then needs its source no more."""
    folder = resolve(params.run.folder)
    return checkpoint.exists(_first(folder)) and load_params(folder).run.start_from == params.run.start_from


def _first(folder: str | Path) -> Path:
    return resolve(folder) / "1_supervised" / checkpoint.FILE


def _check(params: Params, source: Path) -> None:
    load_params(source)  # says so where no run is
    first = _first(source)
    try:
        state = checkpoint.load(first)
        checkpoint.check_same(first, state, params)
    except CheckpointError as error:
        raise ParamsError(
            f"run.start_from: {str(error).partition('. ')[0]}; leave run.start_from out, or keep what stage 1 was made "
            "with: new labels are more masks in data.root, or another data.root, with the same data.labels"
        ) from None
    if not state["finished"]:
        raise ParamsError(f"run.start_from = {source}: its stage 1 has not finished")


def take_over(stage: str, source: Path, experiment: Experiment) -> bool:
    """Make a finished stage of another run folder this experiment's, where it is what this one would come to."""
    mine, theirs = experiment.folder / stage, source / stage
    if mine == theirs or checkpoint.exists(mine / checkpoint.FILE) or not _fits(theirs, stage, experiment):
        return False
    for name in ("metrics.jsonl", checkpoint.BEST, checkpoint.FILE):  # without the last the others are not read
        if (theirs / name).exists():
            link(theirs / name, mine / name)
    return True


def _fits(folder: Path, stage: str, experiment: Experiment) -> bool:
    path = folder / checkpoint.FILE
    try:
        state = checkpoint.load(path)
        experiment.check(path, state)
    except CheckpointError:
        return False
    return state["finished"] and state["steps"] == STAGES[stage].length(experiment.params)
