"""A step of a stage without computing: what it keeps in memory, and whether its batch is large enough."""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from eln_kit.data.views import Batch, strong_names
from eln_kit.device import device, precision_of
from eln_kit.faults import ParamsError
from eln_kit.method.stage import Outcome, Stage
from eln_kit.method.stages import stages_of
from eln_kit.models import Networks
from eln_kit.params import Params
from eln_kit.training import processes


def blank(params: Params, classes: int) -> Networks:
    """The networks without initial weights, which are not to be read for a trial."""
    model = params.model.model_copy(update={"encoder_weights": "none", "eln_weights": "none"})
    return Networks(params.model_copy(update={"model": model}), classes)


def check_batches(params: Params, classes: int) -> None:
    """Refuse a batch that BatchNorm cannot normalise in one of the stages; nothing but a single image can be so.

    Raises:
        ParamsError: names the knobs; or the processes cannot share a batch.
    """
    shares = {}
    for kind in stages_of(params):
        number = processes.count(params, unlabeled := kind.unlabeled_images(params))
        smallest = min(params.data.batch_labeled, params.data.batch_unlabeled if unlabeled else 2**31)
        shares[kind] = number, smallest // number
    networks = blank(params, classes) if any(share == 1 for _, share in shares.values()) else None
    for kind, (number, share) in shares.items():
        if networks and share == 1:
            memory_of(kind(networks, params), number, precision_of(params.run.precision, networks.student)[0])


def memory_of(stage: Stage, number: int, precision: str) -> int:
    """Bytes of weights, gradients, optimizer, and what a step keeps for its backward pass, found without computing.

    Workspaces of convolutions and what an allocator loses come on top.

    Args: number of processes that share the batches; precision fp32, bf16 or fp16.

    Raises:
        ParamsError: BatchNorm has one value a channel.
    """
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):  # the weights themselves
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    half = precision != "fp32"
    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16, enabled=half):
        with saved_tensors_hooks(note, lambda tensor: tensor):
            losses, _ = _step(stage, number)
        activations = sum(kept.values())
        del losses
    parts = [getattr(stage.networks, part) for part in stage.parts]
    return 4 * count_parameters(stage) + 12 * sum(map(count_trained, parts)) + activations


def _step(stage: Stage, number: int) -> Outcome:
    try:
        return stage.train()(_batch(stage.params, number))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        crop, data = stage.params.views.crop, stage.params.data
        batches = f"data.batch_labeled = {data.batch_labeled} and data.batch_unlabeled = {data.batch_unlabeled}"
        raise ParamsError(
            f"views.crop = {crop} with {batches} in {number} process{'es' if number > 1 else ''}: BatchNorm has one "
            f"value a channel in {stage.name}; enlarge the crop or the batch"
        ) from None


def _batch(params: Params, number: int) -> Batch:
    """A process's share of a batch."""
    height, width = params.views.crop
    least = 2 if number > 1 and device().type == "cuda" else 1  # BatchNorm is synchronised there
    labeled, unlabeled = (max(n // number, least) for n in (params.data.batch_labeled, params.data.batch_unlabeled))
    mask = torch.zeros(unlabeled, height, width, dtype=torch.long)
    image = torch.zeros(unlabeled, 3, height, width)
    batch: Batch = {
        "image": torch.zeros(labeled, 3, height, width),
        "mask": torch.zeros(labeled, height, width, dtype=torch.long),
        "weak": image,
        "valid": mask == 0,
        "truth": mask,
    }
    return batch | {view: image.clone() for view in strong_names(params)}  # type: ignore[return-value]


def count_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def count_trained(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
