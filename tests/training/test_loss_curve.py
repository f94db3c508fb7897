import plain
import pytest
import torch

from eln_kit.method.stages import SemiSupervised
from eln_kit.store.experiment import open_experiment
from eln_kit.training.fit import fit
from eln_kit.training.optimizer import make_optimizer

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def test_fifty_steps_of_stage_3_have_the_loss_curve_of_the_plain_path(tiny, tmp_path, monkeypatch):
    """At a low rate: at a high one AdamW's first steps make large differences of rounding."""

    def stripes(logits, keep):  # of nine classes, so that there is something to contrast
        rows = torch.arange(keep.shape[1]) // 4 % 9
        return rows[:, None].expand_as(keep).contiguous()

    def curve(name, knobs):
        more = {"run.folder": str(tmp_path / name), "semi_supervised.steps": 50, "optimizer.lr": 1e-4}
        params = tiny(more | knobs)
        experiment = open_experiment(params)
        return fit(SemiSupervised(experiment.networks(), params), experiment)

    monkeypatch.setattr("eln_kit.method.stages.pseudo_label", stripes)
    fast = curve("fast", {})
    monkeypatch.setattr("eln_kit.method.stages.contrastive_loss", plain.contrastive_loss)
    make = make_optimizer
    monkeypatch.setattr("eln_kit.training.loop.make_optimizer", lambda *given: unfused(make(*given)))
    slow = curve("slow", {"data.cache": "none"})
    assert fast[-1]["contrast_weak"] > 1
    near = dict.fromkeys(("main", "auxiliary", "weak", "strong", "contrast_weak", "contrast_strong"), 1e-3)
    near["eln"] = 2e-2  # its targets jump where rounding decides between two classes
    for one, other in zip(fast, slow, strict=True):
        for name, rel in near.items():
            assert one[name] == pytest.approx(other[name], rel=rel, abs=1e-5), (one["step"], name)


def unfused(optimizer):
    for group in optimizer.param_groups:
        group["fused"] = False
    return optimizer
