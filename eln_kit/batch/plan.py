"""What `eln-kit run` would do, told before anything starts: data, steps, networks, memory, and what is done already."""

import os
from collections.abc import Iterator
from pathlib import Path

from eln_kit.batch.state import finished_before
from eln_kit.data import Split
from eln_kit.device import device, precision_of
from eln_kit.faults import ParamsError
from eln_kit.method.stage import Stage
from eln_kit.method.stages import stages_of
from eln_kit.models import Networks
from eln_kit.models.backbone import existing_file
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import dataset_of, split_of, without_trained
from eln_kit.tools import account
from eln_kit.tools.survey import check_trainable, survey
from eln_kit.training import processes
from eln_kit.training.tracking import accelerator_options
from eln_kit.training.trial import blank, count_parameters, count_trained, memory_of

GIB = 2**30


def describe(params: Params, sources: dict[str, Path]) -> str:
    """The plan as text; nothing is written but generated scenes that were never drawn before.

    Args: the notebooks' files by name, from `state.notebooks`.

    Raises:
        ParamsError, DataError, CheckpointError, RunError: what would stop the run at its start.
    """
    folder = resolve(params.run.folder)
    checkpoint.check_stages(folder, params)
    dataset = dataset_of(params)
    split = split_of(folder, dataset, params, keep=False)
    accelerator_options(params.run, folder)
    _check_files(params, folder)
    found = survey(dataset)
    check_trainable(params, split, found)
    networks = blank(params, len(dataset.classes))
    lines = [
        f"run folder  {folder}",
        account.describe(found, split, params),
        _sizes(networks, params),
        *_training(networks, params, split),
    ]
    done = finished_before(folder, sources, params.model_dump())
    skipped = [name for name, (finished, _) in done.items() if finished]
    if skipped:
        lines.append(f"finished    {', '.join(skipped)}, with these params; not executed again")
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


def _sizes(networks: Networks, params: Params) -> str:
    parts = {"segmenter": networks.student, "auxiliary decoders": networks.auxiliary, "ELN": networks.eln}
    millions = ", ".join(f"{name} {count_parameters(part) / 1e6:.1f} M" for name, part in parts.items())
    return f"networks    {params.model.encoder}; parameters: {millions}"


def _training(networks: Networks, params: Params, split: Split) -> Iterator[str]:
    """A line a stage: its steps, where it would go on, what a process of it needs, and what it keeps on disk."""
    precision, _ = precision_of(params.run.precision, networks.student)
    for kind in stages_of(params, split):
        path = resolve(params.run.folder) / kind.name / checkpoint.FILE
        step, steps = checkpoint.load(path)["step"] if checkpoint.exists(path) else 0, kind.length(params)
        rest = "finished" if step == steps else f"steps {step + 1} to {steps}"
        number = processes.count(params, kind.unlabeled_images(params))
        stage = kind(networks, params)
        memory, size = memory_of(stage, number, precision), size_of_checkpoint(stage) / 2**20
        at = f"{number} process{'es' if number > 1 else ''} on {device().type}, {precision}"
        kept = f"{params.run.keep} checkpoints of {size:.0f} MiB"
        yield f"{kind.name:<21} {rest}; {at}; at least {memory / GIB:.1f} GiB each; {kept}"


def size_of_checkpoint(stage: Stage) -> int:
    """Bytes of a checkpoint in the midst of a stage: its networks, and AdamW's two moments of those that it trains."""
    parts = [getattr(stage.networks, part) for part in stage.parts]
    return 4 * sum(map(count_parameters, parts)) + 8 * sum(map(count_trained, parts))
