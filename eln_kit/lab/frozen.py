"""A segmenter that learns no more, and what it says of labelled crops and of held-out images, computed once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from eln_kit.data import Item, read_image, read_mask, spread
from eln_kit.data.loaders import training_batches
from eln_kit.data.views import resize
from eln_kit.evaluation.predict import prepare
from eln_kit.models import ErrorLocalizer, Prediction, Segmenter
from eln_kit.models.features import Features
from eln_kit.store.experiment import Experiment

CROPS = 24  # labelled crops to train on
IMAGES = 8  # held-out images to look at and to measure on
LARGEST = 640  # pixels of the longer side at which an image is shown and measured


@dataclass(frozen=True)
class Crops:
    """Labelled crops, `image` float `N 3 h w` and `mask` long `N h w`, and the segmenter's view of them."""

    image: Tensor
    mask: Tensor
    features: Features
    logits: Tensor
    looks: list[Tensor]  # ELN's, see `ErrorLocalizer.look_again`
    weights: Tensor | None  # of the classes, see `Experiment.class_weights`

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, places: Tensor) -> "Crops":
        """Some of them."""
        features = Features(each[places] for each in self.features)
        looks = [look[places] for look in self.looks]
        return Crops(self.image[places], self.mask[places], features, self.logits[places], looks, self.weights)


@dataclass(frozen=True)
class Held:
    """A validation image: uint8 `3 H W` and its truth `H W` as they are shown; `seen`, float `1 3 h w` in 0..1, is
    what the segmenter saw, and `prediction` what it said of it.
    """

    item: Item
    image: Tensor
    truth: Tensor
    seen: Tensor
    prediction: Prediction
    looks: list[Tensor]


@torch.no_grad()
def crops(segmenter: Segmenter, eln: ErrorLocalizer, experiment: Experiment) -> Crops:
    """Weak views of labelled images, in the order in which training would meet them."""
    count = -(-CROPS // experiment.params.data.batch_labeled)
    loader = training_batches(experiment.labeled, experiment.dataset, experiment.params, True, range(count))
    batches = list(loader)
    target = next(segmenter.parameters()).device
    image = torch.cat([batch["image"] for batch in batches])[:CROPS].to(target)
    mask = torch.cat([batch["mask"] for batch in batches])[:CROPS].to(target)
    segmenter.eval()
    said = [segmenter(part) for part in image.split(experiment.params.data.batch_labeled)]
    features = Features(torch.cat(maps) for maps in zip(*(each.features for each in said), strict=True))
    looks = eln.look_again(segmenter, image)
    weights = experiment.class_weights
    weights = None if weights is None else weights.to(target)
    return Crops(image, mask, features, torch.cat([each.logits for each in said]), looks, weights)


@torch.no_grad()
def held(segmenter: Segmenter, eln: ErrorLocalizer, experiment: Experiment) -> list[Held]:
    """`IMAGES` validation images, evenly spread; large ones are made smaller for showing, not for the segmenter."""
    segmenter.eval()
    found = []
    for item in spread(experiment.dataset.val, IMAGES):
        image, truth = read_image(item), read_mask(item, experiment.dataset)
        seen, _ = prepare(image, None, experiment.params)
        seen = seen.to(next(segmenter.parameters()).device)
        factor = min(1, LARGEST / max(image.shape[1:]))
        shown, looks = resize(image, truth, factor), eln.look_again(segmenter, seen)
        found.append(Held(item, *shown, seen, segmenter(seen), looks))
    return found
