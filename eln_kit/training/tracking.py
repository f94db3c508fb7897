"""The log and example pictures, sent to TensorBoard or Weights & Biases through accelerate's trackers."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import numpy as np
from accelerate import Accelerator
from PIL import Image

from eln_kit.faults import ParamsError
from eln_kit.method.stage import Stage
from eln_kit.models.features import evaluating
from eln_kit.params import Run
from eln_kit.store.experiment import Experiment
from eln_kit.training.pictures import FOLDER


def accelerator_options(run: Run, folder: Path) -> dict:
    """What `Accelerator` needs to know of the tracker; none for `run.tracker: none`.

    Raises:
        ParamsError: the tracker is not installed.
    """
    if run.tracker == "none":
        return {}
    if find_spec(run.tracker) is None:
        raise ParamsError(f"run.tracker = {run.tracker}: not installed; pip install {run.tracker}, or set it to none")
    return {"log_with": run.tracker, "project_dir": folder}


@contextmanager
def opened(accelerator: Accelerator, stage: Stage, experiment: Experiment) -> Iterator[None]:
    """While training, the tracker is open; every knob of the run is its configuration.

    After the last step it gets the mIoU on the validation images, and what `pictures` has taken.
    """
    if not accelerator.log_with:
        yield
        return
    options = _wandb(experiment, stage) if accelerator.is_main_process else {}  # the others send nothing
    accelerator.init_trackers("eln-kit", _knobs(experiment), {"wandb": options})
    try:
        yield
        if accelerator.is_main_process:
            _send_results(accelerator, stage, experiment)
    finally:
        for tracker in accelerator.trackers:  # end_training would end the processes' group, too
            tracker.finish()


def _wandb(experiment: Experiment, stage: Stage) -> dict[str, str]:
    """A stage that goes on is the same run there; one that begins anew, in an empty folder, is another."""
    folder = experiment.folder / stage.name
    identity = folder / "tracker_id"
    if not identity.exists():
        identity.write_text(uuid4().hex)
    name = f"{experiment.params.run.folder} {stage.name}"
    return {"name": name, "id": identity.read_text(), "resume": "allow", "dir": str(folder)}


def _knobs(experiment: Experiment) -> dict[str, int | float | str]:
    knobs = experiment.params.flat().items()
    return {knob: value if isinstance(value, int | float | str) else str(value) for knob, value in knobs}


def _send_results(accelerator: Accelerator, stage: Stage, experiment: Experiment) -> None:
    from eln_kit.evaluation import segmentation

    with evaluating(stage) as trained:
        miou = segmentation.measure(trained.segmenter, experiment.dataset, experiment.params)["miou"]
    accelerator.log({"validation_miou": miou}, step=stage.steps)
    seen = experiment.folder / stage.name / FOLDER
    for name, step in (("images", 0), ("predictions", stage.steps)):
        if (file := seen / f"{step}.png").is_file():
            picture = np.asarray(Image.open(file).convert("RGB"))[None]
            for tracker in accelerator.trackers:
                layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                tracker.log_images({name: picture}, step=stage.steps, **layout)
