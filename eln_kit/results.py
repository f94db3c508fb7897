"""What a run came to: every network that its stages have trained, measured on the validation images."""

from eln_kit import checkpoint
from eln_kit.evaluate import error_detection, segmentation
from eln_kit.experiment import Experiment
from eln_kit.models import Networks, Segmenter
from eln_kit.stages import STAGES

ROWS = {  # name of the row: stage, and whether it is the teacher
    "stage 1, supervised": ("1_supervised", False),
    "stage 3, student": ("3_semi_supervised", False),
    "stage 3, teacher": ("3_semi_supervised", True),
    "control: supervised only": ("control", False),
    "control, averaged as the teacher is": ("control", True),
}


def finished_stages(experiment: Experiment) -> dict[str, Networks]:
    """The networks of each finished stage, after its last step."""
    paths = {name: experiment.folder / name / checkpoint.FILE for name in STAGES}
    finished = [name for name, path in paths.items() if path.is_file() and checkpoint.load(path)["finished"]]
    return {name: experiment.networks(after=name) for name in finished}


def segmenters(experiment: Experiment, stages: dict[str, Networks]) -> dict[str, tuple[Segmenter, int]]:
    """What the table has a row of: name -> segmenter, and the steps that it has been trained for in all."""
    rows = {}
    for row, (stage, is_teacher) in ROWS.items():
        if stage in stages:
            rows[row] = _segmenter(stages[stage], is_teacher), _steps(experiment, stage)
            path = experiment.folder / stage / checkpoint.BEST
            if path.is_file() and (STAGES[stage].measured == "teacher") == is_teacher:
                best, before = checkpoint.load(path)["step"], _steps(experiment, STAGES[stage].after)
                networks = experiment.networks(after=stage, best=True)
                rows[f"{row}, best step on held-out images"] = _segmenter(networks, is_teacher), before + best
    return rows


def measure_segmentation(experiment: Experiment, rows: dict[str, tuple[Segmenter, int]]) -> list[dict]:
    """`name`, `steps` and what `evaluate.segmentation` gives, for each row."""
    dataset, params = experiment.dataset, experiment.params
    return [
        {"name": name, "steps": steps, **segmentation(network, dataset, params)}
        for name, (network, steps) in rows.items()
    ]


def measure_error_detection(experiment: Experiment, stages: dict[str, Networks]) -> list[dict]:
    """What `evaluate.error_detection` gives of the student after stage 2 and of the teacher after stage 3."""
    rows = []
    for number, stage in ((2, "2_error_localization"), (3, "3_semi_supervised")):
        if stage in stages:
            judged = _segmenter(stages[stage], number == 3)
            found = error_detection(judged, stages[stage].eln, experiment.dataset, experiment.params)
            rows += [{**row, "name": f"after stage {number}, {row['name']}"} for row in found]
    return rows


def evaluate(experiment: Experiment) -> dict[str, list[dict]]:
    """Everything at once, as notebook 4 writes it to `results.json`.

    Raises:
        CheckpointError: no stage has finished.
    """
    stages = finished_stages(experiment)
    if not stages:
        raise checkpoint.CheckpointError(f"{experiment.folder}: no stage has finished; eln-kit run trains them")
    return {
        "segmentation": measure_segmentation(experiment, segmenters(experiment, stages)),
        "error_detection": measure_error_detection(experiment, stages),
    }


def _segmenter(networks: Networks, is_teacher: bool) -> Segmenter:
    return networks.teacher.module if is_teacher else networks.student


def _steps(experiment: Experiment, stage: str | None) -> int:
    """Training steps up to the end of a stage, those of the stages before it among them."""
    if stage is None:
        return 0
    kind, params = STAGES[stage], experiment.params
    return kind.length(params) + _steps(experiment, kind.after)
