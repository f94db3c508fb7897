"""Several methods and seeds from one file, each a run folder: `eln-kit sweep FILE`, which goes on where it stopped.

A sweep file names a params file and what to change in it; each method is some knobs on top::

    params: params/camvid.yaml
    folder: runs/camvid_filters
    seeds: [0, 1, 2]                 # of weights, batches and views; the split stays that of data.seed
    knobs: {run.control: false}      # in all methods
    methods:
      no filter: {semi_supervised.filter: none}
      confidence: {semi_supervised.filter: confidence, semi_supervised.threshold: 0.95}

A stage that another of the runs has trained with the same seed, params and precision is taken from there. Started
several times, on one machine or on several that share the folder, the command divides the runs.
"""

import re
import reprlib
from difflib import get_close_matches
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from eln_kit.batch import report
from eln_kit.faults import LockedError, ParamsError
from eln_kit.method.stages import stages_of
from eln_kit.outcome import results
from eln_kit.outcome.detection import detect, peers_of
from eln_kit.params import Params, Section
from eln_kit.paths import resolve
from eln_kit.store import branch, checkpoint, params_file
from eln_kit.store.experiment import Experiment, load_params, open_experiment
from eln_kit.store.lock import held
from eln_kit.training.fit import fit

SAME = attrgetter(  # what a stage's result depends on beside what `check_same` compares, which knows its own run alone
    *("run.seed", "run.precision", "run.channels_last"),
    *("data.labeled_ids", "data.unlabeled_ids", "model.encoder_weights", "model.eln_weights"),
)
MEASURED = attrgetter("evaluation", "semi_supervised.threshold")  # what measuring alone depends on


class Sweep(Section):
    """What a sweep file holds."""

    params: str
    folder: str
    seeds: list[int] = Field(min_length=1)
    knobs: dict[str, Any] = Field({})
    methods: dict[str, dict[str, Any]] = Field(min_length=1)


def load(file: str | Path) -> list[Params]:
    """The runs of a sweep file, the first method with all seeds first.

    Raises:
        ParamsError: names the file and what in it, or in the params file, cannot be used.
    """
    sweep = _read(file)
    folders = [_folder(method) for method in sweep.methods]
    if "" in folders or len({*folders}) < len(folders) or len({*sweep.seeds}) < len(sweep.seeds):
        raise ParamsError(f"{file}: methods, by their letters and digits, and seeds should differ")
    return [
        params_file.load(sweep.params, sweep.knobs | knobs | _own(sweep, method, seed))
        for method, knobs in sweep.methods.items()
        for seed in sweep.seeds
    ]


def _read(file: str | Path) -> Sweep:
    try:
        return Sweep.model_validate(params_file.read(file))
    except ValidationError as error:
        fault = error.errors()[0]
    if not fault["loc"]:
        raise ParamsError(f"{file}: should be a mapping of {', '.join(Sweep.model_fields)}")
    name, *_ = map(str, fault["loc"])
    if fault["type"] == "extra_forbidden":
        near = get_close_matches(name, Sweep.model_fields, 1) or [", ".join(Sweep.model_fields)]
        raise ParamsError(f"{file}: there is no {name}; did you mean {near[0]}?")
    given = "" if fault["type"] == "missing" else f" = {reprlib.repr(fault['input'])}"
    raise ParamsError(f"{file}: {name}{given}: {params_file.message_of(fault)}")


def _folder(method: str) -> str:
    return re.sub(r"\W+", "_", method.lower()).strip("_")


def _own(sweep: Sweep, method: str, seed: int) -> dict[str, Any]:
    return {"run.folder": f"{sweep.folder}/{_folder(method)}/{seed}", "run.seed": seed}


def carry_out(runs: list[Params]) -> None:
    """Train and measure all of them; those that another process works on are left to it."""
    for act in (_train, _detect):
        for params in runs:
            try:
                with held(resolve(params.run.folder), patience=0):
                    act(params, runs)
            except LockedError as error:
                print(f"left alone: {error}", flush=True)


def _train(params: Params, runs: list[Params]) -> None:
    """Train the stages of a run, and measure it; anew where it was measured in another way."""
    experiment = open_experiment(params)
    if (experiment.folder / report.RESULTS).is_file():
        checkpoint.check_stages(experiment.folder, params)
        if MEASURED(load_params(experiment.folder)) == MEASURED(params):
            return
        for name in (report.RESULTS, report.DETECTORS):
            (experiment.folder / name).unlink(missing_ok=True)
    params_file.save(params, experiment.folder / "params.yaml")
    print(experiment.folder, flush=True)
    for kind in stages_of(params, experiment.split):
        _borrow(kind.name, experiment, runs)
        fit(kind(experiment.networks(kind.after), params), experiment)
    experiment.write(report.RESULTS, results.evaluate(experiment))


def _borrow(stage: str, experiment: Experiment, runs: list[Params]) -> None:
    """Take over a finished stage of another run that was trained with the same params."""
    for other in runs:
        if SAME(other) == SAME(experiment.params) and branch.take_over(stage, resolve(other.run.folder), experiment):
            return


def _detect(params: Params, runs: list[Params]) -> None:
    """All detectors after stage 2, once every run of the method is there: those of other seeds make the ensemble.

    A stage 2 that several methods share is measured once, for the first of them.
    """
    stage, folder = "2_error_localization", resolve(params.run.folder)
    folders = [resolve(run.run.folder) for run in runs]
    method = [each for each in folders if each.parent == folder.parent]
    if (folder / report.DETECTORS).is_file() or not all((each / report.RESULTS).is_file() for each in method):
        return
    earlier = [each / stage / checkpoint.FILE for each in folders[: folders.index(folder)]]
    if any(file.exists() and file.samefile(folder / stage / checkpoint.FILE) for file in earlier):
        return
    experiment = open_experiment(params)
    peers = peers_of([each for each in method if each != folder], stage, experiment.split)
    experiment.write(report.DETECTORS, detect(experiment, stage, peers=peers))
