"""What a run's networks say of any image: prediction, ELN's map and mask, and what the mask leaves, as pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from eln_kit import figures
from eln_kit.data import DataSet, Item, Split, depth_of, describe_classes, read_image, read_mask
from eln_kit.data.items import VOID
from eln_kit.data.pictures import IMAGE_SUFFIXES, MASK_SUFFIXES
from eln_kit.evaluation import predict as predictions
from eln_kit.faults import DataError
from eln_kit.method.stages import STAGES
from eln_kit.models import Networks, Which
from eln_kit.models.features import predicted, upsample
from eln_kit.params import Params
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment, dataset_of, load_params

SHEET = "sheet.png"
VOID_COLOR = (190, 190, 190)


@dataclass(frozen=True)
class Judgement:
    """All at the image's own size: `image` uint8 `3 H W`; `truth` or None, `prediction` class indices `H W`;
    `wrongness` ELN's probability of being wrong, float `H W`; `keep` bool `H W`."""

    image: Tensor
    truth: Tensor | None
    prediction: Tensor
    wrongness: Tensor
    keep: Tensor


def show(run: Path, images: Path, masks: Path | None, out: Path, knobs: Sequence[str] = ()) -> Iterator[Path]:
    """Write a folder of PNGs for each image, and give the folder; the run's params are changed by `knobs`.

    Prediction, truth and filtered prediction are palette images: the data set's colours to look at, class indices
    to read. Works without the data set; its masks' values are then class indices.

    Raises:
        ParamsError, CheckpointError: no run, or stage 2 has not finished.
        DataError: an image or mask cannot be read, or `out` cannot be written.
    """
    items = _items(images, masks)
    experiment = _open(load_params(run, knobs))
    stage, networks = _networks(experiment)
    dataset = experiment.dataset
    depth = depth_of(dataset.train + dataset.val or items, experiment.params.data)
    for item in (replace(item, depth=depth) for item in items):
        folder = out / item.id
        judged = judge(networks, STAGES[stage].measured, item, experiment.dataset, experiment.params)
        try:
            _write(judged, experiment.dataset, folder)
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from None
        yield folder


@torch.no_grad()
def judge(networks: Networks, which: Which, item: Item, dataset: DataSet, params: Params) -> Judgement:
    """The prediction of `student` or `teacher` for an image, and what ELN makes of it."""
    image = read_image(item)
    truth = None if item.mask is None else read_mask(item, dataset)
    seen, _ = predictions.prepare(image, None, params)
    logits = predictions.predict(networks.segmenter(which), seen, params.evaluation)
    judged = predictions.judge(networks.eln, networks.segmenter(which), seen, logits, params.evaluation)
    judged = upsample(judged, image.shape[1:])[0, 0].cpu()
    prediction = predicted(upsample(logits, image.shape[1:]))[0].cpu()
    keep = judged.sigmoid() >= params.semi_supervised.threshold
    return Judgement(image, truth, prediction, (-judged).sigmoid(), keep)


def sheet(judged: Judgement, dataset: DataSet) -> Figure:
    """Everything of one image side by side."""
    return figures.judgement(
        judged.image,
        judged.truth,
        judged.prediction,
        judged.wrongness,
        judged.keep,
        dataset.classes,
        dataset.colors,
    )


def _items(images: Path, masks: Path | None) -> list[Item]:
    """The image, or a folder's images in order, each with its mask where `masks` has one of the same name."""
    if images.is_dir():
        files = sorted(f for f in images.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and f.name[0] != ".")
        if not files:
            raise DataError(f"{images}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    else:
        files = [images]
    if masks is not None and not masks.exists():
        raise DataError(f"{masks}: no such mask or folder of masks")
    if images.is_dir() and masks is not None and not masks.is_dir():
        raise DataError(f"{masks}: one mask cannot be that of every image in {images}; give a folder of masks")
    stems = [file.stem for file in files]
    ids = [file.name if stems.count(file.stem) > 1 else file.stem for file in files]
    return [Item(id, file, _mask_of(file, masks)) for id, file in zip(ids, files, strict=True)]


def _mask_of(image: Path, masks: Path | None) -> Path | None:
    if masks is None or masks.is_file():
        return masks
    files = (masks / f"{image.stem}{suffix}" for suffix in sorted(MASK_SUFFIXES, reverse=True))
    return next((file for file in files if file.is_file()), None)


def _open(params: Params) -> Experiment:
    """The run, without a split; and with the class names of its checkpoint where the data set is not at hand."""
    folder = resolve(params.run.folder)
    try:
        dataset = dataset_of(params)
    except DataError:
        state = checkpoint.load(folder / "2_error_localization" / checkpoint.FILE)
        dataset = describe_classes(params.data.name, state["classes"])
    return Experiment(params, folder, dataset, Split([], []))


def _networks(experiment: Experiment) -> tuple[str, Networks]:
    """Those of the last finished stage that has an ELN."""
    last = checkpoint.is_finished(experiment.folder / "3_semi_supervised" / checkpoint.FILE)
    stage = "3_semi_supervised" if last else "2_error_localization"
    return stage, experiment.networks(after=stage)


def _write(judged: Judgement, dataset: DataSet, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(judged.image.permute(1, 2, 0).numpy()).save(folder / "input.png")
    filtered = judged.prediction.masked_fill(~judged.keep, VOID)
    masks = {"truth": judged.truth, "prediction": judged.prediction, "filtered": filtered}
    for name, mask in masks.items():
        if mask is not None:
            picture = Image.fromarray(mask.numpy().astype(np.uint8))
            picture.putpalette(_palette(dataset.colors))
            picture.save(folder / f"{name}.png")
    Image.fromarray((judged.wrongness * 255).round().byte().numpy()).save(folder / "eln_map.png")
    Image.fromarray(judged.keep.numpy()).save(folder / "eln_mask.png")
    figures.save(sheet(judged, dataset), folder / SHEET)


def _palette(colors: np.ndarray) -> list[int]:
    table = np.zeros((VOID + 1, 3), dtype=np.uint8)
    table[: len(colors)], table[VOID] = colors, VOID_COLOR
    return table.ravel().tolist()
