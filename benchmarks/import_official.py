"""Checkpoints of the paper's own code (kinux98/SSL_ELN) as run folders that evaluate, show and go on training.

    python benchmarks/import_official.py epoch_0480.pth --out runs/official [--params PARAMS] [--set data.root=DIR ...]

That code saves during stage 3: one file with the states of the student's encoder and decoder, of two auxiliary decoders
and of ELN, without the teacher. Here the same tensors have other names, which the tables below translate; the networks
compute the same. They stand for the end of stages 1 and 2, and stage 3 starts from them.
"""

import argparse
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from eln_kit.data.cityscapes import CLASSES as CITYSCAPES
from eln_kit.data.voc import CLASSES as VOC
from eln_kit.faults import CheckpointError, Fault, ParamsError
from eln_kit.method.stages import ErrorLocalization, Supervised
from eln_kit.models import Networks
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint, params_file

# How a tensor's name begins there, and here; its end (`.weight`, `.bn1.running_mean`) stays. None: not used there.
ENCODER = {"backbone": "encoder.network"}
DECODER = {
    "aspp.aspp1.atrous_conv": "decoder.aspp.branches.0.0",
    "aspp.aspp1.bn": "decoder.aspp.branches.0.1",
    "aspp.aspp2.atrous_conv": "decoder.aspp.branches.1.0",
    "aspp.aspp2.bn": "decoder.aspp.branches.1.1",
    "aspp.aspp3.atrous_conv": "decoder.aspp.branches.2.0",
    "aspp.aspp3.bn": "decoder.aspp.branches.2.1",
    "aspp.aspp4.atrous_conv": "decoder.aspp.branches.3.0",
    "aspp.aspp4.bn": "decoder.aspp.branches.3.1",
    "aspp.global_avg_pool.1": "decoder.aspp.pooled.1",
    "aspp.conv1": "decoder.aspp.project.0",
    "aspp.bn1": "decoder.aspp.project.1",
    "decoder.conv1": "decoder.reduce.0",
    "decoder.bn1": "decoder.reduce.1",
    "decoder.last_conv1": "decoder.fuse.0",
    "decoder.last_conv2": "decoder.fuse.2",
    "decoder.last_conv3": "decoder.fuse.4",
}
AUXILIARY = DECODER | {"cls.classifier": "classify", "proj.projector": None}
SECTIONS: dict[str, tuple[str, str, Mapping[str, str | None]]] = {  # of the file: whose tensors, and how names begin
    "enc_state_dict": ("student", "", ENCODER),
    "dec_state_dict": ("student", "", DECODER | {"cls.classifier": "classify", "proj.projector": "embed"}),
    "dec_0": ("auxiliary", "0.", AUXILIARY),
    "dec_1": ("auxiliary", "1.", AUXILIARY),
    "eln_state_dict": ("eln", "", ENCODER | DECODER | {"classifier": "judge"}),
}
DATA_SETS = {"voc": VOC, "cityscapes": [each.name for each in CITYSCAPES]}
PARAMS_FILES = {(21, 101): "voc_20_res101", (21, 50): "voc_20_res50", (19, 50): "city_2_res50"}  # classes, depth
DEPTHS = {6: 50, 23: 101}  # of a ResNet, by the blocks of its third layer
ALIKE = {  # of every official network
    "eln_encoder": "resnet34.tv_in1k",
    "encoder_weights": "none",
    "eln_weights": "none",
    "eln_form": "published",
    "atrous_rates": [6, 12, 18],
    "dilations": [2, 4, 8],
    "eln_dilations": [1, 1, 1],
}


def import_checkpoint(file: Path, folder: str, source: str | None = None, knobs: Sequence[str] = ()) -> Path:
    """Make a run folder whose stages 1 and 2 have finished with the networks of an official checkpoint.

    Args:
        file: the official checkpoint.
        folder: the run folder to make, as `run.folder`.
        source: a params file; None: the one in `params/` for the file's classes and encoder.
        knobs: changes to it, such as `data.root=../data`; the data set itself need not be there.

    Returns:
        The run folder, with `params.yaml` and two checkpoints.

    Raises:
        CheckpointError: the file is no official checkpoint, is broken, or the run folder has stages already.
        ParamsError: the params are for other networks or another data set.
    """
    official = _read(file)
    classes, depth = _classes(file, official), _depth(file, official)
    params = _params(file, folder, source, knobs, classes, depth)
    place = _free_folder(params)
    networks = Networks(params, classes)
    checkpoint.restore(file, networks, translate(file, official))
    try:
        place.mkdir(parents=True, exist_ok=True)
        params_file.save(params, place / "params.yaml")
    except OSError as error:
        raise ParamsError(f"run.folder = {place}: cannot be written ({error.strerror})") from None
    for stage in (Supervised(networks, params), ErrorLocalization(networks, params)):
        names = DATA_SETS[params.data.name]
        state = checkpoint.snapshot(stage, names, stage.steps, optimizer=None, scaler=None, pending=[])
        checkpoint.save(place / stage.name / checkpoint.FILE, state)
    return place


def translate(file: Path, official: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """The official sections as states of our `student`, `auxiliary` and `eln`.

    Raises:
        CheckpointError: names a tensor that is in no table; `file` is for the message.
    """
    states: dict[str, dict[str, Tensor]] = {part: {} for part, _, _ in SECTIONS.values()}
    for section, (part, prefix, table) in SECTIONS.items():
        for name, tensor in official[section].items():
            begin = next((begin for begin in table if name.startswith(f"{begin}.")), None)
            if begin is None or not isinstance(tensor, Tensor):
                raise CheckpointError(
                    f"{file}: {section} has {name}, which the official networks do not have; "
                    "give a checkpoint of the unchanged official code"
                )
            if (here := table[begin]) is not None:
                end = name.removeprefix(begin).replace(".shortcut.", ".downsample.")  # ELN's blocks call it so
                states[part][prefix + here + end] = tensor
    states["eln"] |= {"log_weight": torch.zeros(()), "slope": torch.ones(()), "offset": torch.zeros(())}  # a score
    return states


def _read(file: Path) -> dict:
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{file}: holds more than tensors and plain values, which could run code when read, and is refused; "
            "save its state dicts alone"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError):
        raise CheckpointError(f"{file}: not a whole PyTorch checkpoint; copy or download it again") from None
    sections = state if isinstance(state, dict) else {}
    missing = [name for name in SECTIONS if not _are_tensors(sections.get(name))]
    if missing:
        raise CheckpointError(
            f"{file}: not a checkpoint of the official code: it has no {', '.join(missing)}; "
            "give a file epoch_NNNN.pth that its train.py has saved"
        )
    return sections


def _are_tensors(section) -> bool:
    pairs = section.items() if isinstance(section, dict) else [(None, None)]
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in pairs)


def _classes(file: Path, official: dict) -> int:
    name = "cls.classifier.2.bias"
    if name not in official["dec_state_dict"]:
        raise CheckpointError(f"{file}: dec_state_dict has no {name}; give a whole checkpoint of the official code")
    return len(official["dec_state_dict"][name])


def _depth(file: Path, official: dict) -> int:
    blocks = {name.split(".")[2] for name in official["enc_state_dict"] if name.startswith("backbone.layer3.")}
    if len(blocks) not in DEPTHS:
        raise CheckpointError(
            f"{file}: its encoder has {len(blocks)} blocks in layer3; ResNet-50 has 6 and ResNet-101 has 23, "
            "and only these can be imported"
        )
    return DEPTHS[len(blocks)]


def _params(file: Path, folder: str, source: str | None, knobs: Sequence[str], classes: int, depth: int) -> Params:
    """Params with the checkpoint's networks."""
    if source is None:
        if (classes, depth) not in PARAMS_FILES:
            raise ParamsError(f"{file}: no params file is for {classes} classes and ResNet-{depth}; give --params")
        source = PARAMS_FILES[classes, depth]
    forced = {f"model.{knob}": value for knob, value in ALIKE.items()}
    forced |= {"model.encoder": f"resnet{depth}.tv_in1k", "run.folder": str(folder)}
    params = params_file.build(params_file.load(source, knobs).model_dump(), forced, source)
    name = params.data.name
    if len(DATA_SETS.get(name, [])) != classes:
        known = " or ".join(f"{name} ({len(names)})" for name, names in DATA_SETS.items())
        raise ParamsError(f"{file}: has {classes} classes, and data.name is {name}; give params for {known}")
    if len(params.error_localization.ratios) != 2:
        raise ParamsError(f"{file}: has 2 auxiliary decoders; use --set error_localization.ratios=[20,50]")
    return params


def _free_folder(params: Params) -> Path:
    folder = resolve(params.run.folder)
    for path in checkpoint.stages(folder):
        raise CheckpointError(f"{path}: the run folder has stages already; choose another with --out")
    return folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", required=True, metavar="RUN", help="the run folder to make")
    parser.add_argument("--params", metavar="PARAMS", help="default: by the checkpoint's classes and encoder")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args(arguments)
    try:
        folder = import_checkpoint(options.checkpoint, options.out, options.params, options.set)
    except Fault as fault:
        print(fault, file=sys.stderr)
        return fault.status
    print(f"{folder}: stages 1 and 2 as in {options.checkpoint}; go on with: eln-kit run {folder / 'params.yaml'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
