"""What a stage predicts for a few validation images while it trains: small PNGs that the run's page shows.

`<stage>/seen/0.png` has the images and their truth, `<stage>/seen/400.png` the predictions after step 400 and, where
ELN is trained, white where ELN expects errors. Nothing is drawn at random, and no weight changes: training goes on to
the same bit.
"""

from contextlib import suppress
from functools import cached_property
from io import BytesIO

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from eln_kit.data import read_image, read_mask, spread
from eln_kit.data.classes import in_palette
from eln_kit.evaluation.predict import judge, predict, prepare
from eln_kit.faults import Fault
from eln_kit.method.stage import Stage
from eln_kit.models.features import evaluating, predicted
from eln_kit.paths import write_whole
from eln_kit.store.experiment import Experiment

FOLDER = "seen"
IMAGES, SIDE, GAP = 3, 112, 3  # how many, the longer side of a small picture, and what lies between two, in pixels


class Pictures:
    """Takes pictures twice at the start of a stage, and then eight times evenly; none where not `wanted`."""

    def __init__(self, stage: Stage, experiment: Experiment, wanted: bool):
        self.stage, self.experiment = stage, experiment
        steps = {stage.steps // 32, stage.steps // 16} | {stage.steps * part // 8 for part in range(1, 9)}
        self.steps = steps if wanted and experiment.dataset.val else set()

    def due(self, step: int) -> bool:
        return step in self.steps

    def take(self, step: int) -> None:
        """Write the pictures; a broken image, a full disk or too little memory means none, and no error."""
        with suppress(OSError, Fault, torch.OutOfMemoryError):
            self._write(0, self._known)
            self._write(step, [self._predicted(image) for image, _ in self._images])

    @cached_property
    def _images(self) -> list[tuple[Tensor, Tensor]]:
        """The middle of each image as the networks see it, float `1 3 h w`, and of its truth, uint8 `h w`."""
        dataset, params = self.experiment.dataset, self.experiment.params
        height, width = (2 * side for side in params.views.crop)  # so that it takes less memory than training
        images = []
        for item in spread(dataset.val, IMAGES):
            seen, truth = prepare(read_image(item), read_mask(item, dataset), params)
            rows, columns = seen.shape[2:]
            truth = torch.nn.functional.interpolate(truth[None, None], size=(rows, columns))[0, 0]
            size = [min(rows, height), min(columns, width)]
            images.append((center_crop(seen, size), center_crop(truth[None], size)[0]))
        return images

    @cached_property
    def _known(self) -> list[list[Image.Image]]:
        return [[_picture(image), self._mask(truth)] for image, truth in self._images]

    @torch.no_grad()
    def _predicted(self, image: Tensor) -> list[Image.Image]:
        segmenter, knobs = self.stage.segmenter, self.experiment.params.evaluation
        with evaluating(segmenter):
            logits = predict(segmenter, image, knobs)
            pictures = [self._mask(predicted(logits)[0])]
            if "eln" in self.stage.parts:
                wrong = (-judge(self.stage.networks.eln, segmenter, image, logits, knobs)).sigmoid()
                pictures.append(_picture(wrong.expand(1, 3, -1, -1)))
        return pictures

    def _mask(self, mask: Tensor) -> Image.Image:
        return in_palette(mask.cpu().numpy(), self.experiment.dataset.colors)

    def _write(self, step: int, rows: list[list[Image.Image]]) -> None:
        folder = self.experiment.folder / self.stage.name / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{step}.png", together(rows))


def together(rows: list[list[Image.Image]]) -> bytes:
    """Pictures in rows, each made small, as one PNG with nothing behind them."""
    nearest = Image.Resampling.NEAREST  # classes have no colours in between
    small = [[ImageOps.contain(picture.convert("RGBA"), (SIDE, SIDE), nearest) for picture in row] for row in rows]
    width = max(sum(picture.width + GAP for picture in row) for row in small) - GAP
    sheet = Image.new("RGBA", (width, sum(row[0].height + GAP for row in small) - GAP))
    top = 0
    for row in small:
        left = 0
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width + GAP
        top += row[0].height + GAP
    file = BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _picture(image: Tensor) -> Image.Image:  # float 1 3 h w in 0..1
    return Image.fromarray((255 * image[0]).round().byte().permute(1, 2, 0).cpu().numpy())
