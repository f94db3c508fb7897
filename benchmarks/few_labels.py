"""Does stage 3 help where labels are few, over draws of the labelled images and not over seeds alone?

    python benchmarks/few_labels.py params/sweeps/nuclei_few.yaml --labels 3 --random 5 --ids clusters=ids.txt
        --seeds 0 1 --folder runs/few/nuclei [--methods oracle ...] [--out FILE.csv] [--set section.knob=value ...]

The sweep file names params and methods; its own seeds are left out. Each draw and seed has one run of stages 1 and 2,
which all methods go on from, and `labels alone`: stage 1 gone on with for as many steps. Each training is a run folder,
so a stopped command goes on; rows are added to the file as trainings end. `by_image.json` in each folder has the
confusion counts of every validation image, so that parts of the data can be told apart afterwards.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import rows
import yaml

from eln_kit.data import open_dataset
from eln_kit.evaluation.segmentation import confusion, summarize_confusion, validation_items
from eln_kit.method.stages import STAGES
from eln_kit.params import Params
from eln_kit.store.branch import open_branch
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import build, load, save
from eln_kit.training.fit import fit

ALONE = "labels alone"


def draws(params: Params, options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> ids of the labelled images."""
    masked = [item.id for item in open_dataset(params.data).train if item.mask]
    found = {f"random {draw}": random(masked, options.labels, draw) for draw in range(options.random)}
    listed = dict(each.split("=") for each in options.ids)
    return found | {name: Path(file).read_text().split() for name, file in listed.items()}


def random(masked: list[str], count: int, draw: int) -> list[str]:
    """`count` of these ids; a larger draw has a smaller one's."""
    return [masked[place] for place in np.random.default_rng(draw).permutation(len(masked))[:count]]


def opened(params: Params, folder: Path, ids: list[str], start: Path | None = None) -> Experiment:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    knobs = {"data.labeled_ids": str((folder / "ids.txt").resolve()), "run.folder": str(folder.resolve())}
    if start:
        knobs["run.start_from"] = str(start.resolve())
    experiment = open_branch(build(params.model_dump(), knobs))
    save(experiment.params, folder / "params.yaml")
    return experiment


def trained(experiment: Experiment, *stages: str) -> Experiment:
    for name in stages:
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), experiment.params), experiment)
    return experiment


def measured(experiment: Experiment, stage: str) -> dict[str, float]:
    """Validation mIoU in % of a stage's student and averaged network, and the last log's measures of stage 3."""
    networks, dataset, params = experiment.networks(after=stage).eval(), experiment.dataset, experiment.params
    found = {}
    for which in ("student", "teacher"):
        items = validation_items(dataset, params)
        counts = confusion(networks.segmenter(which), items, dataset, params)
        found[which] = round(100 * summarize_confusion(counts.sum(0), dataset.classes)["miou"], 2)
        by_image = {item.id: each.long().tolist() for item, each in zip(items, counts, strict=True)}
        (experiment.folder / f"by_image_{which}.json").write_text(json.dumps(by_image))
    last = experiment.records(stage)[-10:]
    for name in ("kept_share", "kept_accuracy"):
        found[name] = round(float(np.mean([each.get(name, np.nan) for each in last])), 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--labels", type=int, required=True)
    parser.add_argument("--random", type=int, default=0, help="that many random draws")
    parser.add_argument("--ids", nargs="*", default=[], metavar="NAME=FILE", help="draws of one's own")
    parser.add_argument("--draws", nargs="*", help="of these the ones to train; all by default")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args()
    sweep = yaml.safe_load(options.sweep.read_text())
    shared = [*(f"{knob}={json.dumps(value)}" for knob, value in sweep["knobs"].items()), *options.set]
    methods = {ALONE: {}} | sweep["methods"]
    done = {(int(row["labels"]), row["draw"], int(row["seed"]), row["method"]) for row in rows.read(options.out)}
    for seed in options.seeds:
        params = load(sweep["params"], [*shared, f"run.seed={seed}"])
        for draw, ids in draws(params, options).items():
            wanted = [name for name in options.methods or methods if (len(ids), draw, seed, name) not in done]
            if not wanted or draw not in (options.draws or [draw]):
                continue
            base = options.folder / draw.replace(" ", "_") / str(seed)
            start = trained(opened(params, base / "start", ids), "1_supervised", "2_error_localization")
            for name in wanted:
                run = opened(
                    build(params.model_dump(), methods[name]), base / name.replace(" ", "_"), ids, start.folder
                )
                stage = "control" if name == ALONE else "3_semi_supervised"
                row = {"labels": len(ids), "draw": draw, "seed": seed, "method": name}
                rows.tell(row | measured(trained(run, stage), stage), options.out)


if __name__ == "__main__":
    main()
