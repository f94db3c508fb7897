"""What `eln-kit run` would do, told before anything starts: data, steps, networks, memory, and what is done already."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from eln_kit.batch.run import finished_before, notebooks
from eln_kit.data import DataSet, Split
from eln_kit.device import device, precision_of
from eln_kit.faults import ParamsError
from eln_kit.method.stages import STAGES, Stage, strong_names
from eln_kit.models import Networks
from eln_kit.models.backbone import existing_file
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import check_held_out, check_unlabeled, dataset_of, split_of, without_trained
from eln_kit.store.params_file import build
from eln_kit.training import processes
from eln_kit.training.tracking import accelerator_options

GIB = 2**30


def describe(params: Params, names: list[str]) -> str:
    """The plan as text; nothing is written but generated scenes that were never drawn before.

    The notebooks are named as for `eln_kit.batch.run.run`.

    Raises:
        ParamsError, DataError, CheckpointError, RunError: what would stop the run at its start.
    """
    folder = resolve(params.run.folder)
    checkpoint.check_stages(folder, params)
    dataset = dataset_of(params)
    split = split_of(folder, dataset, params, keep=False)
    check_held_out(params, split)
    check_unlabeled(params, split)
    accelerator_options(params.run, folder)
    _check_files(params, folder)
    blank = build(params.model_dump(), {"model.encoder_weights": "none", "model.eln_weights": "none"})
    networks = Networks(blank, len(dataset.classes))
    lines = [
        f"run folder  {folder}",
        *_data(params, dataset, split),
        _sizes(networks, params),
        *_training(networks, params),
    ]
    done = finished_before(folder, notebooks(names), params.model_dump())
    skipped = [name for name, (finished, _) in done.items() if finished]
    lines.append(f"skipped     {', '.join(skipped) or 'nothing'} (finished with these params before)")
    return "\n".join(lines)


def _check_files(params: Params, folder: Path) -> None:
    """Refuse a run folder that cannot be written, and weights that are not there."""
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise ParamsError(f"run.folder = {folder}: cannot be written")
    model = without_trained(params).model
    for weights in (model.encoder_weights, model.eln_weights):
        if weights not in ("none", "imagenet"):
            existing_file(weights)


def _data(params: Params, dataset: DataSet, split: Split) -> list[str]:
    held_out = f", {params.data.held_out} of the labelled ones held out" if params.data.held_out else ""
    return [
        f"data        {dataset.name}, {len(dataset.classes)} classes; "
        f"{len(split.labeled)} labelled and {len(split.unlabeled)} unlabelled images{held_out}; "
        f"{len(dataset.val)} to validate on",
        f"split       {split.source}",
    ]


def _sizes(networks: Networks, params: Params) -> str:
    parts = {"segmenter": networks.student, "auxiliary decoders": networks.auxiliary, "ELN": networks.eln}
    millions = ", ".join(f"{name} {_parameters(part) / 1e6:.1f} M" for name, part in parts.items())
    return f"networks    {params.model.encoder}; parameters: {millions}"


def _training(networks: Networks, params: Params) -> Iterator[str]:
    """A line a stage: its steps, where it would go on, what a process of it needs, and what it keeps on disk."""
    precision = precision_of(params.run.precision)
    for name, kind in STAGES.items():
        if name == "control" and not params.run.control:
            continue
        path = resolve(params.run.folder) / name / checkpoint.FILE
        step, steps = checkpoint.load(path)["step"] if checkpoint.exists(path) else 0, kind.length(params)
        rest = "finished" if step == steps else f"steps {step + 1} to {steps}"
        number = processes.count(params, kind.unlabeled_images(params))
        stage = kind(networks, params)
        memory, size = memory_of(stage, number, precision), size_of_checkpoint(stage) / 2**20
        at = f"{number} process{'es' if number > 1 else ''} on {device().type}, {precision}"
        kept = f"{params.run.keep} checkpoints of {size:.0f} MiB"
        yield f"{name:<21} {rest}; {at}; at least {memory / GIB:.1f} GiB each; {kept}"


def size_of_checkpoint(stage: Stage) -> int:
    """Bytes of a checkpoint in the midst of a stage: its networks, and AdamW's two moments of those that it trains."""
    parts = [getattr(stage.networks, part) for part in stage.parts]
    return 4 * sum(map(_parameters, parts)) + 8 * sum(map(_trained, parts))


def memory_of(stage: Stage, number: int, precision: str) -> int:
    """Bytes of weights, gradients, optimizer, and what a step keeps for its backward pass, found without computing.

    Workspaces of convolutions and what an allocator loses come on top.

    Args: number of processes that share the batches; precision fp32, bf16 or fp16.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):  # the weights themselves
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    half = precision != "fp32"
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16, enabled=half):
        with saved_tensors_hooks(note, lambda tensor: tensor):
            losses, _ = stage.train()(_batch(stage.params, number))
        activations = sum(kept.values())
        del losses
    parts = [getattr(stage.networks, part) for part in stage.parts]
    return 4 * _parameters(stage) + 12 * sum(map(_trained, parts)) + activations


def _batch(params: Params, number: int) -> dict[str, Tensor]:
    """A process's share of a batch, as `eln_kit.method.stages` describes it."""
    height, width = params.views.crop
    labeled, unlabeled = params.data.batch_labeled // number, params.data.batch_unlabeled // number
    mask = torch.zeros(unlabeled, height, width, dtype=torch.long)
    image = torch.zeros(unlabeled, 3, height, width)
    return {
        "image": torch.zeros(labeled, 3, height, width),
        "mask": torch.zeros(labeled, height, width, dtype=torch.long),
        "weak": image,
        **{view: image.clone() for view in strong_names(params)},
        "valid": mask == 0,
        "truth": mask,
    }


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _trained(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
