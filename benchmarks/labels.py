"""Validation mIoU over the number of labels, for each way of choosing the images to label: what a label buys.

    python benchmarks/labels.py params/sweeps/nuclei_few.yaml --labels 3 6 10 --draws 5 --folder runs/labels/nuclei
        [--ways random choose ...] [--seeds 0] [--out FILE.csv] [--set section.knob=value ...]

The sweep file names params and knobs; its methods are left out. Labels alone: stage 1, gone on with for as many steps
as stages 2 and 3 have, as in `few_labels.py`. `--ways all` has every label, for the share of full supervision.
Each training is a run folder, so a stopped command goes on; rows are added to the file as trainings end.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import rows
import yaml
from few_labels import ALONE, measured, opened, random, trained

from eln_kit.data import Item, open_dataset
from eln_kit.data.items import spread
from eln_kit.data.splits import make_split
from eln_kit.params import Params
from eln_kit.store.params_file import build, load
from eln_kit.tools.choose import choose


def at_random(params: Params, masked: list[Item], count: int, draw: int) -> list[str]:
    return random([item.id for item in masked], count, draw)


def chosen(params: Params, masked: list[Item], count: int, draw: int) -> list[str]:
    return choose(params, count).ids


def covering(params: Params, masked: list[Item], count: int, draw: int) -> list[str]:
    """The kit's draw that covers the classes, as `data.draw: covering` does: it reads all masks."""
    drawn = build(params.model_dump(), {"data.draw": "covering", "data.labels": count, "data.seed": draw})
    return [item.id for item in make_split(open_dataset(drawn.data), drawn.data).labeled]


def every_nth(params: Params, masked: list[Item], count: int, draw: int) -> list[str]:
    """Evenly spread over the data set's order: over a film, where it is one."""
    return [item.id for item in spread(masked, count)]


def everything(params: Params, masked: list[Item], count: int, draw: int) -> list[str]:
    return [item.id for item in masked]


WAYS: dict[str, Callable[[Params, list[Item], int, int], list[str]]] = {
    "random": at_random, "choose": chosen, "covering": covering, "every n-th": every_nth, "all": everything,
}  # fmt: skip
DRAWN = ("random", "covering")  # the ways that another draw changes


def wanted(options: argparse.Namespace) -> list[tuple[int, int, int, str]]:
    """Seed, number of labels, draw and way of each training."""
    plan = [(seed, count, 0, way) for seed in options.seeds for count in options.labels for way in options.ways]
    more = [(*each[:2], draw, each[3]) for draw in range(1, options.draws) for each in plan if each[3] in DRAWN]
    return plan + more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", required=True)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--draws", type=int, default=1, help="of the ways that draw")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    parser.add_argument("--choose-set", nargs="*", default=[], metavar="SECTION.KNOB=VALUE", help="for choosing alone")
    options = parser.parse_args()
    sweep = yaml.safe_load(options.sweep.read_text())
    knobs = [*(f"{knob}={json.dumps(value)}" for knob, value in sweep["knobs"].items()), *options.set]
    done = {(int(row["seed"]), int(row["labels"]), int(row["draw"]), row["way"]) for row in rows.read(options.out)}
    for seed, count, draw, way in wanted(options):
        params = load(sweep["params"], [*knobs, f"run.seed={seed}"])
        masked = [item for item in open_dataset(params.data).train if item.mask]
        with_encoder = load(sweep["params"], [*knobs, *options.choose_set]) if way == "choose" else params
        ids = WAYS[way](with_encoder, masked, count, draw)
        if (seed, len(ids), draw, way) in done:
            continue
        done.add((seed, len(ids), draw, way))
        base = options.folder / str(len(ids)) / way.replace(" ", "_") / f"{draw}_{seed}"
        start = trained(opened(params, base / "start", ids), "1_supervised", "2_error_localization")
        run = trained(opened(params, base / ALONE.replace(" ", "_"), ids, start.folder), "control")
        scores = {name: value for name, value in measured(run, "control").items() if name in ("student", "teacher")}
        rows.tell({"labels": len(ids), "way": way, "draw": draw, "seed": seed} | scores, options.out)


if __name__ == "__main__":
    main()
