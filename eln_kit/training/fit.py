"""How a stage is trained, whoever asks: alone, in several processes, and from where it stopped.

Notebooks call `fit`; on several GPUs it starts processes of its own. Several machines train a stage without its
notebook, which then finds it finished: `torchrun --nnodes ... -m eln_kit.training params/X.yaml 1_supervised`
"""

import os
from contextlib import nullcontext
from pathlib import Path

import torch

from eln_kit.faults import CheckpointError
from eln_kit.method.stage import Stage
from eln_kit.method.stages import STAGES
from eln_kit.params import Params
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, open_experiment
from eln_kit.store.lock import held
from eln_kit.training import processes
from eln_kit.training.loop import saved, train
from eln_kit.training.trial import check_batches


def fit(stage: Stage, experiment: Experiment) -> list[dict]:
    """Train a stage to its end, going on from its checkpoint when there is one.

    Leaves `checkpoint.pt` and `metrics.jsonl` in the stage's folder of the run. A finished stage is loaded, not
    trained again. SIGINT, SIGTERM and SIGHUP save first and then raise KeyboardInterrupt. With `run.processes` above
    one, that many new processes train, and the stage is loaded when they are done.

    Returns:
        The records of `metrics.jsonl`: `step`, `images_per_s`, `lr`, and the mean of each loss and measure.

    Raises:
        CheckpointError: the checkpoint was made with other params, or cannot be read or written.
        TrainingError: a loss is NaN or infinite, or the disk is full.
        LockedError: another process trains this stage in this run folder.
        WorkerError: one of several processes died.
    """
    path = experiment.folder / stage.name / checkpoint.FILE
    state = _resume(path, stage, experiment)
    if not state["finished"]:
        check_batches(experiment.params, len(experiment.dataset.classes))
        number = processes.count(experiment.params, stage.unlabeled)
        if number == 1 or processes.launched():
            with held(path.parent) if processes.is_first() else nullcontext():
                train(stage, experiment, _resume(path, stage, experiment))  # another may have gone on meanwhile
        else:
            print(f"{stage.name}: {number} processes", flush=True)
            try:
                processes.launch(number, train_stage, experiment.params.model_dump(), stage.name)
            except KeyboardInterrupt as stopped:
                step = checkpoint.load(path)["step"] if checkpoint.exists(path) else 0
                raise KeyboardInterrupt(saved(stage, step) if step else stopped) from None
            _resume(path, stage, experiment)
    else:
        print(f"{stage.name}: finished before, {stage.steps} steps; loaded, not trained again", flush=True)
    return experiment.records(stage.name)


def train_stage(params: dict, name: str) -> None:
    """Train the stage of that name, with its networks made here; what each of several processes does."""
    if processes.launched() and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # else all would make their networks on the first GPU
    experiment = open_experiment(Params(**params))
    kind = STAGES[name]
    fit(kind(experiment.networks(kind.after), experiment.params), experiment)


def _resume(path: Path, stage: Stage, experiment: Experiment) -> dict:
    """The state to go on from; at the start, one that has done nothing."""
    if not checkpoint.exists(path):
        return {"step": 0, "finished": False, "optimizer": None, "scaler": None, "pending": []}
    state = checkpoint.load(path)
    experiment.check(path, state)
    if state["steps"] != stage.steps:
        raise CheckpointError(
            f"{path}: made for {state['steps']} steps, not {stage.steps}; delete {path.parent} to train it again"
        )
    checkpoint.restore(path, stage.networks, state["networks"])
    return state
