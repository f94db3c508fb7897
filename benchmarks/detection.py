"""Which detector finds errors at which cost, over draws of the labelled images?

    python benchmarks/detection.py params/camvid.yaml --labels 56 --random 3 --seeds 0 1 --folder runs/detection
        [--out FILE.csv] [--set section.knob=value ...]

Stages 1 and 2 are trained for each draw and seed; with `data.held_out` some of the labelled images calibrate ELN, and
with `evaluation.bound_steps` a copy of ELN is taught the truth of the unlabelled images. Then all detectors judge the
same predictions on the validation images. A stopped command goes on.
"""

import argparse
from pathlib import Path

import rows
from few_labels import draws, opened, trained

from eln_kit.evaluation.trust import error_detection
from eln_kit.store.params_file import load
from eln_kit.tools.detection import detect

STAGE = "2_error_localization"


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
            networks = run.networks(after=STAGE).eval()
            eln = error_detection(networks.student, networks.eln, run.dataset, run.params)[0]
            for name, found in detect(run, STAGE)["detectors"].items():
                measured = {key: found["pooled"][key] for key in ("error_rate", "auroc", "aupr", "ece")}
                measured |= {"ece_before": eln["ece_before"]} if name == "ELN" else {"ece_before": None}
                rounded = {key: "" if value is None else round(value, 4) for key, value in measured.items()}
                row = {
                    "draw": draw,
                    "seed": seed,
                    "detector": name,
                    "passes": found["passes"],
                    "pixels": found["pixels"],
                }
                rows.tell(row | rounded, options.out)


if __name__ == "__main__":
    main()
