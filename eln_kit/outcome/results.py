"""What a run came to: every network that its stages have trained, measured on the validation images."""

from contextlib import suppress
from dataclasses import replace

from eln_kit.data import groups_of
from eln_kit.evaluation import segmentation
from eln_kit.evaluation.measures import interval
from eln_kit.evaluation.trust import error_detection
from eln_kit.faults import CheckpointError, Fault
from eln_kit.method.stages import STAGES
from eln_kit.models import Networks, Segmenter, Which
from eln_kit.outcome.guard import kept_stage
from eln_kit.paths import resolve
from eln_kit.store import checkpoint
from eln_kit.store.branch import same_labels
from eln_kit.store.experiment import Experiment, load_params

ROWS: dict[str, tuple[str, Which]] = {  # name of the row: stage, and which of its networks
    "stage 1, supervised": ("1_supervised", "student"),
    "stage 3, student": ("3_semi_supervised", "student"),
    "stage 3, teacher": ("3_semi_supervised", "teacher"),
    "control: supervised only": ("control", "student"),
    "control, averaged as the teacher is": ("control", "teacher"),
}

BEFORE = "before these labels"  # the network that a run with new labels starts from
BEST = ", best step on held-out images"  # ends the name of a row of another checkpoint than the last
TEACHER = "stage 3, teacher"
BASELINES = ("control, averaged as the teacher is", "stage 1, supervised")  # the first one that is there


def finished_stages(experiment: Experiment, needed: tuple[str, ...] = ()) -> dict[str, Networks]:
    """The networks of each finished stage, after its last step.

    Raises:
        CheckpointError: one that is needed has not finished.
    """
    finished = [name for name in STAGES if name in needed or experiment.has_finished(name)]
    return {name: experiment.networks(after=name).eval() for name in finished}


def segmenters(experiment: Experiment, stages: dict[str, Networks]) -> dict[str, tuple[Segmenter, int]]:
    """What the table has a row of: name -> segmenter, and the steps that it has been trained for in all."""
    rows = {}
    for row, (stage, which) in ROWS.items():
        if stage in stages:
            rows[row] = stages[stage].segmenter(which), _steps(experiment, stage)
            path = experiment.folder / stage / checkpoint.BEST
            if path.is_file() and STAGES[stage].measured == which:
                best, before = checkpoint.load(path)["step"], _steps(experiment, STAGES[stage].after)
                if before + best < rows[row][1]:
                    networks = experiment.networks(after=stage, best=True)
                    rows[row + BEST] = networks.segmenter(which), before + best
    return rows | before_these_labels(experiment)


def before_these_labels(experiment: Experiment) -> dict[str, tuple[Segmenter, int]]:
    """Where `run.start_from` had other labels, the network of its last stage that is kept; see `kept_stage`."""
    folder = resolve(experiment.params.run.start_from or experiment.folder)
    with suppress(Fault):  # it is gone, or of another version
        if folder != experiment.folder and not same_labels(folder, experiment):
            start = replace(experiment, folder=folder, params=load_params(folder))
            stage = next((n for n in (kept_stage(folder), "1_supervised") if start.has_finished(n)), None)
            if stage:
                network = start.networks(after=stage).eval().segmenter(STAGES[stage].measured)
                return {BEFORE: (network, _steps(start, stage))}
    return {}


def measure_segmentation(experiment: Experiment, rows: dict[str, tuple[Segmenter, int]]) -> list[dict]:
    """For each row its `name`, `stage`, `network`, `steps`, what `summarize_confusion` gives, and the mIoU's interval.

    `low` and `high` hold 95 % of the mIoU over resampled images (over groups of them where the data set names groups),
    `units` is how many there are. The teacher of stage 3 has a `gain` over its baseline, of the same images: `over`,
    `miou`, `low` and `high`; that teacher, if it is kept, or stage 1's student has a `labels_gain` over the one before
    these labels.
    """
    dataset, params = experiment.dataset, experiment.params
    items = segmentation.validation_items(dataset, params)
    groups = groups_of(items, dataset)
    measured, draws = {}, {}
    for name, (network, steps) in rows.items():
        counts = segmentation.confusion(network, items, dataset, params)
        draws[name] = segmentation.resampled(counts, groups)
        low, high = interval(draws[name])
        spread = {"low": low, "high": high, "images": len(items), "units": len(set(groups))}
        row = segmentation.summarize_confusion(counts.sum(0), dataset.classes)
        stage, which = ROWS.get(name.removesuffix(BEST), ("before", ""))
        what = {"name": name, "stage": stage, "network": which, "steps": steps}
        measured[name] = what | row | spread

    def gain(name: str, over: str) -> dict:
        low, high = interval(draws[name] - draws[over])
        return {"over": over, "miou": measured[name]["miou"] - measured[over]["miou"], "low": low, "high": high}

    baseline = next((name for name in BASELINES if name in measured), "")
    if baseline and TEACHER in measured:
        measured[TEACHER]["gain"] = gain(TEACHER, baseline)
    if BEFORE in measured:
        uses_stage_3 = TEACHER in measured and kept_stage(experiment.folder).startswith("3")
        kept = TEACHER if uses_stage_3 else "stage 1, supervised"
        measured[kept]["labels_gain"] = gain(kept, BEFORE)
    return list(measured.values())


def measure_error_detection(experiment: Experiment, stages: dict[str, Networks]) -> list[dict]:
    """What `trust.error_detection` gives of the student after stage 2 and of the teacher after stage 3, each row with
    its `stage` and `detector`.

    Where another filter than ELN was used, stage 3 has not trained it, and there is nothing to say of it.
    """
    rows, is_trained = [], {2: True, 3: experiment.params.semi_supervised.filter == "eln"}
    for number, stage in ((2, "2_error_localization"), (3, "3_semi_supervised")):
        if stage in stages and is_trained[number]:
            judged = stages[stage].segmenter(STAGES[stage].measured)
            bound = stages["bound"].eln if number == 2 and "bound" in stages else None
            judged_rows = error_detection(judged, stages[stage].eln, experiment.dataset, experiment.params, bound)
            if judged_rows[0]["calibrated_on"]:
                judged_rows[0]["calibrated_on"] = len(experiment.held_out)  # whole groups, where there are some
            rows += [
                {**row, "name": f"after stage {number}, {row['name']}", "stage": stage, "detector": row["name"]}
                for row in judged_rows
            ]
    return rows


def evaluate(experiment: Experiment) -> dict[str, list]:
    """Everything at once, as notebook 4 writes it to `results.json`.

    Raises:
        CheckpointError: no stage has finished.
    """
    stages = finished_stages(experiment)
    if not stages:
        raise CheckpointError(f"{experiment.folder}: no stage has finished; eln-kit run trains them")
    return {
        "classes": experiment.dataset.classes,
        "segmentation": measure_segmentation(experiment, segmenters(experiment, stages)),
        "error_detection": measure_error_detection(experiment, stages),
    }


def _steps(experiment: Experiment, stage: str | None) -> int:
    """Training steps up to the end of a stage, those of the stages before it among them."""
    if stage is None:
        return 0
    kind, params = STAGES[stage], experiment.params
    return kind.length(params) + _steps(experiment, kind.after)
