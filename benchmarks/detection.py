"""Which detector finds errors at which cost, over draws of the labelled images?

    python benchmarks/detection.py params/camvid.yaml --labels 56 --random 3 --seeds 0 1 --folder runs/detection
        [--out FILE.csv] [--set section.knob=value ...]

Stages 1 and 2 are trained for each draw and seed; with `data.held_out` some of the labelled images calibrate ELN, and
with `evaluation.bound_steps` a copy of ELN is taught the truth of the unlabelled images. Then all detectors judge the
same predictions on the validation images. A stopped command goes on. What ELN adds to its own views is told by two
combinations, logistic regressions that are fitted on the held-out images: of both views, and of both views and ELN.
"""

import argparse
from functools import partial
from pathlib import Path

import rows
import torch
from few_labels import draws, opened, trained
from sklearn.linear_model import LogisticRegression

from eln_kit.data import Item
from eln_kit.evaluation.calibration import PIXELS
from eln_kit.evaluation.measures import Ranking, separation
from eln_kit.evaluation.segmentation import validation_items
from eln_kit.evaluation.trust import DETECTORS, MEAN, Case, error_detection, sampled
from eln_kit.models import Networks
from eln_kit.outcome.detection import detect
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import load

STAGE = "2_error_localization"
VIEWS = ("1 - max softmax", MEAN)
COMBINED = {"both views, fitted": VIEWS, "both views and ELN, fitted": (*VIEWS, "ELN")}


def combined(run: Experiment, networks: Networks) -> dict[str, dict]:
    """How well the combinations find errors on the validation images; see `separation`."""
    chosen = {name: DETECTORS[name] for name in (*VIEWS, "ELN")}
    case = partial(Case, segmenter=networks.student, eln=networks.eln)

    def pixels(items: list[Item], number: int) -> dict[str, torch.Tensor]:
        found = [each for each, *_ in sampled(case, networks.student, chosen, items, number, run.dataset, run.params)]
        return {name: torch.cat([each[name] for each in found], dim=1) for name in chosen}

    learnt_on = pixels(run.held_out, PIXELS)
    judged = pixels(validation_items(run.dataset, run.params), run.params.evaluation.pixels)
    right, found = judged["ELN"][1] > 0, {}
    for name, used in COMBINED.items():
        seen, unseen = (torch.stack([each[one][0] for one in used], dim=1).numpy() for each in (learnt_on, judged))
        line = LogisticRegression().fit(seen, learnt_on["ELN"][1].numpy())
        found[name] = separation(Ranking(torch.from_numpy(line.decision_function(unseen)), ~right))
    return found


def judged(run: Experiment) -> dict[str, dict]:
    """Of each detector, and of both combinations where images are held out, the figures of a row."""
    networks = run.networks(after=STAGE).eval()
    found = detect(run, STAGE)["detectors"]
    measured = {name: each["pooled"] | {key: each[key] for key in ("passes", "pixels")} for name, each in found.items()}
    if run.held_out:
        measured |= combined(run, networks)
    before = error_detection(networks.student, networks.eln, run.dataset, run.params)[0]["ece_before"]
    measured["ELN"]["ece_before"] = before
    columns = ("passes", "pixels", "error_rate", "auroc", "aupr", "ece", "ece_before")
    return {name: {key: _rounded(each.get(key)) for key in columns} for name, each in measured.items()}


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params")
    parser.add_argument("--labels", type=int, required=True)
    parser.add_argument("--random", type=int, default=3, help="that many random draws")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args()
    options.ids = []
    done = {(row["draw"], int(row["seed"])) for row in rows.read(options.out)}
    for seed in options.seeds:
        params = load(options.params, [*options.set, f"run.seed={seed}"])
        for draw, ids in draws(params, options).items():
            if (draw, seed) in done:
                continue
            bound = ["bound"] if params.evaluation.bound_steps else []
            run = opened(params, options.folder / draw.replace(" ", "_") / str(seed), ids)
            trained(run, "1_supervised", STAGE, *bound)
            for name, row in judged(run).items():
                rows.tell({"draw": draw, "seed": seed, "detector": name} | row, options.out)


if __name__ == "__main__":
    main()
