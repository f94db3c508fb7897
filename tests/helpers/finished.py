"""Runs that tests look at from outside."""

import shutil

from eln_kit.method.stages import STAGES
from eln_kit.store import params_file
from eln_kit.store.experiment import open_experiment
from eln_kit.training.fit import fit


def train(params, *stages):
    experiment = open_experiment(params)
    params_file.save(params, experiment.folder / "params.yaml")
    for name in stages:
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), params), experiment)
    return experiment


def copied(source, params, *stages):
    """An experiment with the stages of another run folder, which were trained with the same params."""
    experiment = train(params)
    for name in stages:
        shutil.copytree(source / name, experiment.folder / name)
    return experiment
