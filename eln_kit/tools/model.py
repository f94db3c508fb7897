"""A run's networks as a function of any image: `eln_kit.load`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor

from eln_kit import figures
from eln_kit.data import DataSet, Item, Split, as_read, depth_of, describe_classes, read_image
from eln_kit.device import device
from eln_kit.evaluation.predict import in_windows, judge, predict, prepare
from eln_kit.evaluation.segmentation import TOGETHER
from eln_kit.faults import CheckpointError, DataError
from eln_kit.method.stages import STAGES
from eln_kit.models import ErrorLocalizer, Segmenter
from eln_kit.models.features import predicted, upsample
from eln_kit.outcome.guard import kept_stage
from eln_kit.params import Evaluation, Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, dataset_of, load_params
from eln_kit.store.params_file import build

LARGE, WINDOW = 2**21, [1024, 1024]  # images of more pixels are seen in windows, so that memory is bounded
POOLED = 256  # longer side, pixels, of the image whose features are pooled

Ask = Callable[[Tensor, Evaluation], tuple[Tensor, Tensor]]  # B 3 h w -> class logits, logits of being right
AnyImage = str | Path | Image.Image | np.ndarray | Tensor


@dataclass(frozen=True)
class Found:
    """What is seen in an image, all at its own size.

    `image` uint8 `3 H W`; `mask` class indices and `second` the next likely ones, uint8 `H W`; `trust` how
    sure ELN is that `mask` is right, float32 `H W` in 0..1 (a probability where `data.held_out` let it be calibrated);
    `keep` bool `H W`, where it is at least the run's threshold, both in 255ths as in files.
    """

    image: Tensor
    mask: np.ndarray
    second: np.ndarray
    trust: np.ndarray
    threshold: float
    classes: list[str]
    colors: np.ndarray

    @property
    def keep(self) -> np.ndarray:
        return levels_of(self.trust) >= level_of(self.threshold)

    def show(self, truth: np.ndarray | Tensor | None = None) -> Figure:
        """Image, mask, trust and what is kept, side by side; with the errors where the truth, `H W`, is known."""
        return figures.judgement(self.image, truth, self.mask, 1 - self.trust, self.keep, self.classes, self.colors)


def levels_of(trust: np.ndarray) -> np.ndarray:
    """Trust in 0..1 in 255ths, uint8."""
    return (trust * 255).round().astype(np.uint8)


def level_of(threshold: float) -> int:
    """The lowest level of `levels_of` that a threshold in 0..1 keeps."""
    return round(threshold * 255)


class Model:
    """Image -> `Found`, one or a list of any sizes.

    An image is a file, a PIL image, an array uint8 `H W` or `H W 3`, or a tensor `3 H W`, uint8 or float in 0..1.

    Attributes:
        classes: names, C.
        colors: uint8, `C 3`.
        features: float `B 3 h w` in 0..1 -> the encoder's deepest map `B c h w`; None of an exported file.
    """

    def __init__(self, ask: Ask, dataset: DataSet, params: Params, features: Callable[[Tensor], Tensor] | None = None):
        self.ask, self.dataset, self.params, self.features = ask, dataset, params, features
        self.classes, self.colors = dataset.classes, dataset.colors
        known = dataset.train + dataset.val
        self.depth = depth_of(known, params.data) if known else None

    def __call__(self, image: AnyImage | list[AnyImage]) -> Found | list[Found]:
        if isinstance(image, list):
            return list(self.each(self.read(each) for each in image))
        return next(self.each([self.read(image)]))

    def read(self, image: AnyImage) -> Tensor:
        """The image upright as uint8 `3 H W`; raises DataError where it is none."""
        if isinstance(image, str | Path):
            item = Item(str(image), Path(image))
            return read_image(*as_read([item], self.params.data, self.depth))
        if isinstance(image, Image.Image):
            image = np.array(ImageOps.exif_transpose(image).convert("RGB"))
        if isinstance(image, np.ndarray):
            image = torch.from_numpy(image)
            image = image.expand(3, *image.shape) if image.dim() == 2 else image.movedim(-1, 0)
        if image.is_floating_point():
            image = (image.clamp(0, 1) * 255).round().byte()
        if image.dim() != 3 or len(image) != 3 or image.dtype != torch.uint8:
            raise DataError(
                f"an image of shape {tuple(image.shape)} and {image.dtype}: give an array uint8 H W 3, or a tensor "
                "3 H W, uint8 or float in 0..1"
            )
        return image.cpu()

    def each(self, images: Iterable[Tensor]) -> Iterator[Found]:
        """One image uint8 `3 H W` after the other; small neighbours of one size pass the networks together."""
        pairs = ((image, prepare(image, None, self.params)[0]) for image in images)
        for size, alike in groupby(pairs, key=lambda pair: (pair[0].shape, pair[1].shape)):
            while part := list(islice(alike, max(1, TOGETHER // size[1][2:].numel()))):
                yield from self._judge(*zip(*part, strict=True))

    @torch.no_grad()
    def _judge(self, images: tuple[Tensor, ...], seen: tuple[Tensor, ...]) -> Iterator[Found]:
        size, knobs = images[0].shape[1:], self.params.evaluation
        if seen[0].shape[2:].numel() > LARGE and not knobs.window:
            knobs = knobs.model_copy(update={"window": WINDOW})
        logits, right = (upsample(maps, size) for maps in self.ask(torch.cat(seen), knobs))
        first = predicted(logits)
        second = predicted(logits.scatter_(1, first[:, None], -torch.inf))
        for image, *maps in zip(images, first.byte(), second.byte(), right[:, 0].sigmoid(), strict=True):
            mask, other, trust = (each.cpu().numpy() for each in maps)
            threshold = self.params.semi_supervised.threshold
            yield Found(image, mask, other, trust, threshold, self.classes, self.colors)

    @torch.no_grad()
    def pooled(self, image: Tensor) -> np.ndarray:
        """The mean of the encoder's deepest map over a small copy of the image, uint8 `3 H W` -> float32 `c`."""
        assert self.features is not None, "an exported file has no features"
        factor = min(1, POOLED / max(image.shape[1:]))
        small = upsample(image[None].float() / 255, [max(1, round(side * factor)) for side in image.shape[1:]])
        return self.features(small.to(device())).mean((0, 2, 3)).float().cpu().numpy()


def load(place: str | Path, knobs: Sequence[str] = ()) -> Model:
    """See `eln_kit.load`; a run's params are changed by `knobs`."""
    if (file := resolve(place)).is_file():
        return _exported(file)
    experiment, _, segmenter, eln = open_run(place, knobs)

    def ask(seen: Tensor, knobs: Evaluation) -> tuple[Tensor, Tensor]:
        logits = predict(segmenter, seen, knobs)
        return logits, judge(eln, segmenter, seen, logits, knobs)

    def features(image: Tensor) -> Tensor:
        return segmenter.encoder(segmenter.normalize(image)).deep

    return Model(ask, experiment.dataset, experiment.params, features)


def open_run(place: str | Path, knobs: Sequence[str] = ()) -> tuple[Experiment, str, Segmenter, ErrorLocalizer]:
    """A run, its last finished stage that has an ELN and did no harm, that stage's segmenter (the teacher after stage
    3), and ELN.
    """
    experiment = _open(load_params(resolve(place), knobs))
    has_stage_3 = experiment.has_finished("3_semi_supervised")
    stage = kept_stage(experiment.folder) if has_stage_3 else "2_error_localization"
    networks = experiment.networks(after=stage).eval()
    return experiment, stage, networks.segmenter(STAGES[stage].measured), networks.eln


def _open(params: Params) -> Experiment:
    """The run, without a split; and with the class names of its checkpoint where the data set is not at hand."""
    folder = resolve(params.run.folder)
    try:
        dataset = dataset_of(params)
    except DataError as error:
        if params.data.root and resolve(params.data.root).is_dir():
            print(f"{error}; so class names are the checkpoint's, and colours a palette's", file=sys.stderr, flush=True)
        state = checkpoint.load(folder / "2_error_localization" / checkpoint.FILE)
        dataset = describe_classes(params.data.name, state["classes"])
    return Experiment(params, folder, dataset, Split([], []))


def _exported(file: Path) -> Model:
    """The graph and what `batch.export` has put beside it."""
    more = {"model.json": ""}
    try:
        graph = torch.export.load(file, extra_files=more).module()
        said = json.loads(more["model.json"])
    except Exception as error:  # torch's readers raise many kinds
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{file}: not a model that eln-kit export --to torch has written ({reason}); export it again"
        ) from None
    dataset = DataSet("exported", said["classes"], np.array(said["colors"], np.uint8), [], [])

    def ask(seen: Tensor, knobs: Evaluation) -> tuple[Tensor, Tensor]:
        def both(place: tuple) -> Tensor:
            logits, trust = graph((seen[place] * 255).round().byte())
            return torch.cat([logits, torch.logit(trust, eps=1e-6)[:, None]], dim=1)

        maps = in_windows(both, seen.shape[2:], knobs)
        return maps[:, :-1], maps[:, -1:]

    return Model(ask, dataset, build(said["params"]))
