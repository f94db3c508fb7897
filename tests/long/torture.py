"""Training that is killed at random moments, again and again, must end as if nothing had happened.

    PYTHONPATH=tests:tests/helpers python tests/long/torture.py [--kills 30] [--seed 0]

Each stage is trained once undisturbed and once with SIGKILL after random times, started again each time; weights must
be the same bit for bit, and the log the same line for line, but for the speed. `make torture` runs it.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import torch
from together import forking

from eln_kit.method.stages import STAGES
from eln_kit.params import Params
from eln_kit.store import checkpoint
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build
from eln_kit.training.fit import train_stage

SPEED = "images_per_s"


def params_in(folder: Path, scenes: Path, steps: int) -> Params:
    """A small experiment that saves every third step, so that many a kill meets a checkpoint being written."""
    from conftest import TINY

    numbers = {f"{name}.steps": steps for name in ("supervised", "error_localization", "semi_supervised")}
    more = {"data.root": str(scenes), "run.folder": str(folder), "run.save_every": 3, "views.cutmix": 0.5}
    return build({}, TINY | numbers | more)


def start(params: Params, stage: str, function=train_stage, *arguments) -> BaseProcess:
    process = forking().Process(target=function, args=(params.model_dump(), stage, *arguments))
    process.start()
    return process


def train_and_die(params: dict, stage: str, function: str, calls: int) -> None:
    """Train a stage, and be killed instead of letting `checkpoint` call a function of `os` for the given time."""
    call, left = getattr(os, function), iter(range(calls - 1, -1, -1))
    own = SimpleNamespace(**vars(os))
    setattr(own, function, lambda *given: call(*given) if next(left) else os.kill(os.getpid(), signal.SIGKILL))
    checkpoint.os = own  # type: ignore[assignment]
    train_stage(params, stage)


def undisturbed(params: Params, stage: str) -> float:
    """Train a stage; how many seconds it took."""
    begin, process = time.monotonic(), start(params, stage)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begin


def torture(params: Params, stage: str, kills: int, seconds: float, draw: random.Random) -> int:
    """Train a stage, killed at random until it has been `kills` times, or is finished; how often it was."""
    for number in range(kills):
        process = start(params, stage)
        process.join(draw.uniform(0.1, 0.6) * seconds)
        if process.exitcode == 0:
            return number
        process.kill()
        process.join()
    undisturbed(params, stage)
    return kills


def result(params: Params, stage: str) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """Weights by name, and the log without the speed."""
    experiment = open_experiment(params)
    parts = checkpoint.load(experiment.folder / stage / checkpoint.FILE)["networks"]
    weights = {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}
    return weights, [{k: v for k, v in line.items() if k != SPEED} for line in experiment.records(stage)]


def differences(one: Params, other: Params, stage: str) -> list[str]:
    """What differs between the results of two runs."""
    (weights, log), (weights_2, log_2) = result(one, stage), result(other, stage)
    found = [name for name in weights.keys() | weights_2.keys() if not torch.equal(weights[name], weights_2[name])]
    return found + (["metrics.jsonl"] if log != log_2 else [])


def torture_run(place: Path, kills: int, steps: int, seed: int, stages: list[str]) -> dict[str, int]:
    """Kills by stage, of a whole run; raises AssertionError at the first difference."""
    whole, killed = (params_in(place / name, place / "scenes", steps) for name in ("whole", "killed"))
    open_experiment(whole)
    warm = forking().Process()  # starts what the others are made from, whose time is nobody's
    warm.start()
    warm.join()
    draw, done = random.Random(seed), dict.fromkeys(stages, 0)
    for stage in stages:
        seconds = undisturbed(whole, stage)
        while done[stage] < kills:
            done[stage] += torture(killed, stage, kills - done[stage], seconds, draw)
            if found := differences(whole, killed, stage):
                raise AssertionError(f"{stage}: differs after {done[stage]} kills: {', '.join(found[:5])}")
            if done[stage] < kills:
                shutil.rmtree(place / "killed" / stage)
    return done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="in each stage")
    parser.add_argument("--steps", type=int, default=60, help="of each stage")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = torture_run(Path(folder), options.kills, options.steps, options.seed, list(STAGES))
    for stage, kills in done.items():
        print(f"{stage}: {kills} kills, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
