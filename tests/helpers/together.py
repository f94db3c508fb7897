"""What tests have other processes do; they import it by name."""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from eln_kit.faults import DataError
from eln_kit.method import losses as method
from eln_kit.method.stages import STAGES
from eln_kit.models.decoder import Dropout
from eln_kit.params import Params
from eln_kit.store.experiment import open_experiment
from eln_kit.training.__main__ import main
from eln_kit.training.fit import fit


def freeze() -> None:
    """From here on no dropout, and BatchNorm frozen, which could not be alike in any number of processes."""
    Dropout.forward = lambda self, maps: maps
    nn.BatchNorm2d.train = lambda self, mode=True: nn.Module.train(self, False)


def train_frozen(params: dict, *names: str) -> None:
    """Train stages, frozen."""
    freeze()
    experiment = open_experiment(Params(**params))
    for name in names:
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), experiment.params), experiment)


def forking():
    """Makes processes from one that has imported everything, so that a start takes no time."""
    from eln_kit.batch.kernels import warm_up  # which the processes do not need

    warm_up()
    return multiprocessing.get_context("forkserver")


def alone(params: dict, *names: str) -> None:
    """Train stages, frozen, in a process of its own, as the patches stay."""
    process = forking().Process(target=train_frozen, args=(params, *names))
    process.start()
    process.join()
    assert process.exitcode == 0


def losses(folder: Path, stage: str) -> list[dict]:
    """Each line of the log, without what time decides."""
    lines = [json.loads(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


def train_until_stopped(params: dict, name: str) -> None:
    """Train a stage, frozen, that SIGTERM stops in step 3."""
    forward, steps = STAGES[name].forward, iter(range(1, 1000))

    def stopped(stage, batch):
        if next(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(stage, batch)

    STAGES[name].forward = stopped
    with contextlib.suppress(KeyboardInterrupt):
        train_frozen(params, name)


def train_by_command(file: str, stage: str) -> None:
    """`python -m eln_kit.training`; what it complains of is in a file beside the params."""
    os.dup2(os.open(f"{file}.err", os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(main([file, stage]))


def fail(kind: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # so that the process that has no fault is not waited for
    if os.environ["RANK"] == "1":
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise DataError("a.png: broken") if kind == "expected" else ZeroDivisionError("surprise")


def every_loss(part: slice) -> dict[str, torch.Tensor]:
    """All losses, and the contrastive one's gradient, of a part of a fixed batch of 4 with much and with no void."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 2, 5, 3, 3)[:, part]  # B W E h w
    logits, judged = torch.randn(4, 3, 6, 6)[part], torch.randn(4, 1, 6, 6)[part]
    labels, mask = torch.randint(0, 3, (4, 2, 3, 3)), torch.randint(0, 3, (4, 6, 6))
    labels[0], mask[:2, 1:] = method.VOID, method.VOID
    labels, mask = labels[part], mask[part]
    student.requires_grad_()
    contrast = method.contrastive_loss(student, teacher, labels, 0.5, 3)
    contrast.backward()
    main = method.cross_entropy(logits, mask)
    return {
        "main": main,
        "auxiliary": method.auxiliary_loss([1.2 * main, 3 * main], main, [1.1, 5.0]),
        "eln": method.error_localization_loss(judged, method.correctness(logits, mask), 20),
        "contrast": contrast,
        "slope": student.grad.sum(dim=(1, 2, 3, 4)),
    }


def save_losses_of_my_half(folder: str) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    torch.save(every_loss(slice(2 * rank, 2 * rank + 2)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def wait(file: str) -> None:
    """Say that this process has started, then do nothing."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # so that the launcher need not wait for it
    Path(file).touch()
    time.sleep(60)
