"""Do the images that a queue puts first teach more than images drawn at random?

    python benchmarks/queues.py params/camvid.yaml --start 6 --add 6 --seeds 0 1 2 --folder runs/queues/camvid
        [--draws 1] [--ways k-center ...] [--out FILE.csv] [--set section.knob=value ...]

For each seed a few images are drawn at random and labelled, and stages 1 and 2 are trained on them. Each way of
choosing then picks more from the other images by what these networks say of them, and stage 1 is trained anew on all
that is labelled, for as many steps. At random, 1, 1.5 and 2 times as many are added, `--draws` times. Each training is
a run folder, so a stopped command goes on; a row is added to the file as each ends.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import rows

from eln_kit.data import open_dataset, read_image
from eln_kit.evaluation import segmentation
from eln_kit.evaluation.predict import prepare
from eln_kit.method.stages import STAGES
from eln_kit.models.features import upsample
from eln_kit.outcome import detectors
from eln_kit.params import Params
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import load, save
from eln_kit.tools import queue
from eln_kit.tools.model import load as load_model
from eln_kit.training.fit import fit

TIMES = (1, 1.5, 2)  # as many images are added at random


def train(params: Params, folder: Path, ids: list[str], stages: tuple[str, ...] = ("1_supervised",)) -> float:
    """A run of these stages on these labelled images: validation mIoU of stage 1 in %."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ids.txt").write_text("\n".join(ids) + "\n")
    data = params.data.model_copy(update={"labeled_ids": str((folder / "ids.txt").resolve())})
    run = params.run.model_copy(update={"folder": str(folder.resolve())})
    params = params.model_copy(update={"data": data, "run": run})
    experiment = open_experiment(params)
    save(params, folder / "params.yaml")
    for name in stages:
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), params), experiment)
    segmenter = experiment.networks(after="1_supervised").student.eval()
    return 100 * segmentation.measure(segmenter, experiment.dataset, params)["miou"]


def picks(start: Path, pool: list, count: int) -> dict[str, list[str]]:
    """Ids of the images of the pool that each queue of the run has first."""
    model = load_model(start)
    entropy, features, accounts, plain = [], [], [], []
    for item in pool:
        found = model(item.image)
        logits, _ = model.ask(prepare(read_image(item), None, model.params)[0], model.params.evaluation)
        confidence = 1 - detectors.max_softmax(upsample(logits, found.mask.shape))[0]
        entropy.append(float(detectors.entropy(logits).mean()))
        features.append(model.pooled(found.image))
        accounts.append(queue.account(found))
        plain.append(queue.account(replace(found, trust=confidence.cpu().numpy())))
    errors, softmax = (np.array([each["error"] for each in those]) for those in (accounts, plain))
    spread = np.array(features)
    orders = {
        "entropy": (-np.array(entropy)).argsort(),
        "1 - max softmax": (-softmax).argsort(),
        "ELN": (-errors).argsort(),
        "k-center": queue.rank(np.ones(len(pool)), spread)[0],
        "ELN, k-center": queue.rank(errors, spread)[0],
        "1 - max softmax class-balanced, k-center": queue.rank(queue.balanced(plain), spread)[0],
        "ELN class-balanced, k-center": queue.rank(queue.balanced(accounts), spread)[0],
    }
    return {name: [pool[place].id for place in order[:count]] for name, order in orders.items()}


def ways(params: Params, start: Path, first: list[str], options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> the ids that are added to the first ones."""
    items = [item for item in open_dataset(params.data).train if item.mask and item.id not in set(first)]
    found = {}
    for draw in range(options.draws):
        order = np.random.default_rng([params.run.seed, draw + 1]).permutation(len(items))
        for times in TIMES:
            chosen = order[: round(times * options.add)]
            found[f"random x{times:g}, draw {draw + 1}"] = [items[place].id for place in chosen]
    return found | picks(start, items, options.add)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("params")
    parser.add_argument("--start", type=int, default=6)
    parser.add_argument("--add", type=int, default=6)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--ways", nargs="+", help="of these the ones to train; all by default")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KNOB=VALUE")
    options = parser.parse_args()
    done = {(int(row["seed"]), row["added by"]) for row in rows.read(options.out)}

    def note(seed: int, way: str, labels: int, miou: float) -> None:
        rows.tell({"seed": seed, "added by": way, "labels": labels, "miou": round(miou, 2)}, options.out)

    for seed in options.seeds:
        params = load(options.params, [*options.set, f"run.seed={seed}"])
        masked = [item.id for item in open_dataset(params.data).train if item.mask]
        first = [masked[place] for place in np.random.default_rng(seed).permutation(len(masked))[: options.start]]
        start = options.folder / str(seed) / "start"
        miou = train(params, start, first, ("1_supervised", "2_error_localization"))
        if (seed, "nothing") not in done:
            note(seed, "nothing", len(first), miou)
        for way, added in ways(params, start, first, options).items():
            if (seed, way) not in done and way in (options.ways or [way]):
                folder = options.folder / str(seed) / way.replace(" ", "_").replace(",", "")
                note(seed, way, len(first) + len(added), train(params, folder, first + added))


if __name__ == "__main__":
    main()
