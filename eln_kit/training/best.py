"""The best step of a stage, picked on held-out labelled images and never on the validation images."""

from accelerate import Accelerator

from eln_kit.evaluation.segmentation import confusion, summarize_confusion
from eln_kit.method.stage import Stage
from eln_kit.models.features import evaluating
from eln_kit.store import checkpoint
from eln_kit.store.experiment import Experiment


class Best:
    """Measures a stage now and then, and keeps the networks of its best step in `best.pt`.

    Args:
        so_far: `{"step", "miou"}` of the best step before this process, or None.
    """

    def __init__(self, stage: Stage, experiment: Experiment, accelerator: Accelerator, so_far: dict | None):
        self.stage, self.experiment, self.accelerator, self.so_far = stage, experiment, accelerator, so_far

    def due(self, step: int) -> bool:
        every = self.experiment.params.evaluation.every
        return bool(self.experiment.held_out) and (step % every == 0 or step == self.stage.steps)

    def measure(self, step: int) -> float:
        """mIoU on the held-out images, shared by all processes; the best step's networks are written to disk."""
        dataset, params = self.experiment.dataset, self.experiment.params
        mine = self.experiment.held_out[self.accelerator.process_index :: self.accelerator.num_processes]
        with evaluating(self.stage.segmenter) as segmenter:
            counts = confusion(segmenter, mine, dataset, params).sum(0).to(self.accelerator.device)
        miou = summarize_confusion(self.accelerator.reduce(counts, "sum").cpu(), dataset.classes)["miou"]
        if self.so_far is None or miou > self.so_far["miou"]:
            self.so_far = {"step": step, "miou": miou}
            if self.accelerator.is_main_process:
                state = checkpoint.snapshot(self.stage, dataset.classes, step, best=self.so_far)
                checkpoint.save(self.experiment.folder / self.stage.name / checkpoint.BEST, state)
        return miou
