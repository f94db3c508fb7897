"""Every detector held against the truth, on the same frozen predictions for validation images.

Memory is bounded: the measures are exact on at most `evaluation.pixels` non-void pixels an image, drawn by a fixed
seed, at the size of the masks.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from eln_kit.data import DataSet, Item, read_image, read_mask, spread
from eln_kit.evaluation.measures import Ranking, draw_pixels
from eln_kit.evaluation.predict import predict, prepare
from eln_kit.evaluation.segmentation import validation_items
from eln_kit.evaluation.trust import Detector, sampled
from eln_kit.faults import ParamsError
from eln_kit.models import Segmenter
from eln_kit.models.features import upsample
from eln_kit.outcome import detectors
from eln_kit.outcome.detectors import Study
from eln_kit.outcome.errors import boundary_distance
from eln_kit.outcome.measures import mean_over_images, measure, risks
from eln_kit.params import Params
from eln_kit.store.experiment import Experiment, reopen

DISTANCES = (2, 5, 10)  # pixels from the nearest boundary, at most
BANDS = ("1 to 2 px", "3 to 5 px", "6 to 10 px", "over 10 px")
FITTED_ON = 20  # labelled images, for the temperature and the power
POINTS = 100  # of a risk-coverage curve
PER_IMAGE = ("auroc", "aupr", "fpr95", "aurc", "excess_aurc", "augrc", "kept_80", "ece", "brier")


def detect(experiment: Experiment, stage: str, peers: tuple[Segmenter, ...] = ()) -> dict:
    """Measure all detectors on a stage's student.

    Returns:
        `judged`, `temperature`, `power`, and `detectors`: for each by name `pooled` (see `outcome.measures.measure`),
        `images` (means over images with intervals), `classes` and `distances` (pooled measures of a part of the
        pixels), `by_image` (AUPR and AUROC of each image by its id), `curve` (coverage and risk), and the cost in
        `passes` and `pixels`.
    """
    networks, params, dataset = experiment.networks(after=stage).eval(), experiment.params, experiment.dataset
    segmenter = networks.student
    fitted = _fit(segmenter, experiment.held_out or experiment.labeled, dataset, params)
    has_bound = stage == "2_error_localization" and experiment.has_finished("bound")
    bound = experiment.networks(after="bound").eval().eln if has_bound else None
    chosen = detectors.usable(networks, peers, bound is not None)
    study = partial(Study, segmenter=segmenter, eln=networks.eln, bound=bound, networks=networks, peers=peers, **fitted)
    items, pixels = validation_items(dataset, params), params.evaluation.pixels
    samples = {}
    for item, (sample, mask, drawn) in zip(
        items, sampled(study, segmenter, chosen, items, pixels, dataset, params), strict=True
    ):
        places = {"class": mask, "distance": boundary_distance(mask)}
        samples[item.id] = sample | {name: each.flatten()[drawn] for name, each in places.items()}
    return {
        "judged": f"student after {stage}",
        **fitted,
        "detectors": {
            name: each.cost(networks.eln) | _measure(name, each, samples, dataset.classes)
            for name, each in chosen.items()
        },
    }


def peers_of(folders: list[Path], stage: str, split: object) -> tuple[Segmenter, ...]:
    """The students that other runs, on the same split, have after a stage: an ensemble with the judged one."""
    runs = [reopen(folder) for folder in folders]
    for run in runs:
        if run.split != split:
            raise ParamsError(f"{run.folder}: has another split, so other labels, than the run that is judged")
    return tuple(run.networks(after=stage).student.eval() for run in runs)


def _measure(name: str, detector: Detector, samples: dict[str, dict[str, Tensor]], classes: list[str]) -> dict:
    trust, right = torch.cat([each[name] for each in samples.values()], dim=1)
    label, distance = (torch.cat([each[key] for each in samples.values()]) for key in ("class", "distance"))
    wrong, is_probability = right == 0, detector.is_probability

    def part(where: Tensor) -> dict:
        return measure(trust[where], wrong[where], is_probability)

    images = {id: measure(each[name][0], each[name][1] == 0, is_probability) for id, each in samples.items()}
    bands, curve = torch.bucketize(distance, torch.tensor(DISTANCES)), risks(Ranking(trust, wrong))
    places = torch.linspace(len(curve) / POINTS, len(curve), POINTS, dtype=torch.float64).round().long() - 1
    return {
        "pooled": measure(trust, wrong, is_probability),
        "images": {key: mean_over_images([each[key] for each in images.values()]) for key in PER_IMAGE},
        "by_image": {id: {key: each[key] for key in ("auroc", "aupr", "error_rate")} for id, each in images.items()},
        "classes": {name: part(label == index) for index, name in enumerate(classes)},
        "distances": {name: part(bands == band) for band, name in enumerate(BANDS)},
        "curve": {"coverage": ((places + 1) / len(curve)).tolist(), "risk": curve[places].tolist()},
    }


@torch.no_grad()
def _fit(segmenter: Segmenter, items: list[Item], dataset: DataSet, params: Params) -> dict:
    """`temperature` and `power`, fitted on labelled images: those held out of training where there are some."""
    logits, labels, generator = [], [], torch.Generator().manual_seed(0)
    for item in spread(items, FITTED_ON):
        seen, mask = prepare(read_image(item), read_mask(item, dataset), params)
        drawn = draw_pixels(mask, 2000, generator)
        found = upsample(predict(segmenter, seen, params.evaluation), mask.shape)[0].flatten(1).T
        logits.append(found[drawn.to(found.device)].cpu())
        labels.append(mask.flatten()[drawn].long())
    pixels = torch.cat(logits), torch.cat(labels)
    return {"temperature": detectors.fit_temperature(*pixels), "power": detectors.fit_power(*pixels)}
