"""What test_processes has spawned processes do; they import it by name."""

import contextlib
import os

import torch
from torch import nn

from eln_kit import train
from eln_kit.experiment import open_experiment
from eln_kit.params import Params
from eln_kit.stages import STAGES


def train_frozen(params: dict, *names: str) -> None:
    """Train stages without dropout and with BatchNorm frozen, which could not be alike in any number of processes."""
    nn.Dropout.forward = lambda self, maps: maps
    nn.BatchNorm2d.train = lambda self, mode=True: nn.Module.train(self, False)
    experiment = open_experiment(Params(**params))
    for name in names:
        kind = STAGES[name]
        train.fit(kind(experiment.networks(kind.after), experiment.params), experiment)


def train_until_stopped(params: dict, *names: str) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        train_frozen(params, *names)


def fail(kind: str) -> None:
    from eln_kit.data import DataError

    if os.environ["RANK"] == "1":
        raise DataError("a.png: broken") if kind == "expected" else ZeroDivisionError("surprise")


def say(text: str) -> None:
    if os.environ["RANK"] == "0":
        print(text, torch.get_num_threads(), flush=True)
