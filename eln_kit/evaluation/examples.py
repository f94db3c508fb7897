"""What the networks say of single images, for the figures."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from eln_kit.data import VOID, DataSet, Item, read_image, read_mask
from eln_kit.data.views import Batch
from eln_kit.evaluation.predict import in_windows, judge, predict, prepare
from eln_kit.method.stages import SemiSupervised
from eln_kit.models import Networks, Segmenter
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Params


@dataclass(frozen=True)
class Example:
    """One image, all maps at the size the networks see it.

    `image` float `3 H W` in 0..1; `truth` `H W` or None; `predictions` and ELN's `wrongness` (probability of being
    wrong, 0..1), one `H W` each for the main and every auxiliary decoder; `keep` bool `H W` where a filter judged.
    """

    image: Tensor
    truth: Tensor | None
    predictions: list[Tensor]
    wrongness: list[Tensor]
    keep: Tensor | None = None


@torch.no_grad()
def examine(networks: Networks, item: Item, dataset: DataSet, params: Params) -> Example:
    """The student's and each auxiliary decoder's prediction, and what ELN makes of each."""
    seen, truth = _read(item, dataset, params, networks)
    networks.eval()

    def every(window: tuple) -> Tensor:
        part = seen[window]
        main = networks.student(part)
        with torch.random.fork_rng():
            torch.manual_seed(0)  # of the noise that auxiliary decoders may see
            logits = [main.logits, *(decoder(main.features) for decoder in networks.auxiliary)]
        return upsample(torch.cat(logits, dim=1), part.shape[2:])

    knobs = params.evaluation
    logits = in_windows(every, seen.shape[2:], knobs).chunk(1 + len(networks.auxiliary), dim=1)
    wrongness = [(-judge(networks.eln, networks.student, seen, part, knobs)[0, 0]).sigmoid() for part in logits]
    return Example(seen[0], truth, [predicted(part)[0] for part in logits], wrongness)


@torch.no_grad()
def teach(stage: SemiSupervised, item: Item, dataset: DataSet) -> Example:
    """The teacher's prediction for an image, ELN's view of it, and the pixels that the stage's filter keeps."""
    networks, params = stage.networks.eval(), stage.params
    seen, truth = _read(item, dataset, params, networks)
    logits = predict(networks.teacher, seen, params.evaluation)
    known = torch.full(seen.shape[2:], VOID) if truth is None else truth
    known = known[None].to(seen.device)
    batch: Batch = {"weak": seen, "truth": known, "valid": torch.ones_like(known, dtype=torch.bool)}
    wrongness = (-judge(networks.eln, networks.teacher, seen, logits, params.evaluation)[0, 0]).sigmoid()

    def trust(batch: Batch, logits: Tensor) -> Tensor:
        def part(window: tuple) -> Tensor:
            return stage.trust({"weak": seen[window]}, logits[window])[:, None]

        return in_windows(part, seen.shape[2:], params.evaluation)[:, 0]

    return Example(seen[0], truth, [predicted(logits)[0]], [wrongness], stage.keep(batch, logits, trust)[0])


@torch.no_grad()
def compare(segmenters: dict[str, Segmenter], items: list[Item], dataset: DataSet, params: Params) -> tuple:
    """Images, truths and, by name, each segmenter's predictions, at the size the networks see the images."""
    images, truths = [], []
    predictions: dict[str, list[Tensor]] = {name: [] for name in segmenters}
    for item in items:
        for name, segmenter in segmenters.items():
            seen, truth = _read(item, dataset, params, segmenter)
            predictions[name].append(predicted(predict(segmenter, seen, params.evaluation))[0])
        images.append(seen[0])
        truths.append(truth)
    return images, truths, predictions


def _read(item: Item, dataset: DataSet, params: Params, networks: nn.Module) -> tuple[Tensor, Tensor | None]:
    mask = None if item.mask is None else read_mask(item, dataset)
    seen, mask = prepare(read_image(item), mask, params)
    truth = (
        None if mask is None else v2.functional.resize(tv_tensors.Mask(mask), list(seen.shape[2:])).as_subclass(Tensor)
    )
    return seen.to(next(networks.parameters()).device), truth
