"""What a dry run tells, and the memory in it."""

import re

import pytest
import torch
from finished import train
from trees import write_image

from eln_kit import cli
from eln_kit.batch import plan
from eln_kit.batch.state import NOTEBOOKS, notebooks
from eln_kit.method.stages import STAGES
from eln_kit.store import params_file
from eln_kit.store.experiment import open_experiment
from eln_kit.training.trial import blank

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("decoder", ["segformer", "fpn", "upernet"])
def test_each_decoder_has_a_dry_run_and_its_run_shows_an_image(tiny, tmp_path, capsys, decoder):
    params = tiny({"model.decoder": decoder, "model.decoder_channels": 32, "run.control": False})
    file = tmp_path / "x.yaml"
    params_file.save(params, file)
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    run, image = train(params, "1_supervised", "2_error_localization"), write_image(tmp_path / "x.png", (40, 56))
    assert cli.main(["show", str(run.folder), "--image", str(image), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "x" / "sheet.png").is_file()


def test_a_dry_run_tells_what_would_be_done_and_touches_nothing(tiny, tmp_path, capsys):
    params = tiny({"run.control": False})
    file = tmp_path / "x.yaml"
    params_file.save(params, file)
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "4 labelled and 8 unlabelled images; 3 to validate on" in told
    line = r"3_semi_supervised +steps 1 to 4; 1 process on cpu, fp32; at least 0\.\d GiB each; 2 checkpoints of \d+ MiB"
    assert re.search(line, told)
    assert "control" not in told
    assert "not executed again" not in told
    assert not (tmp_path / "run").exists()

    open_experiment(params)
    assert cli.main(["run", str(file), "--dry-run", "--set", "data.seed=9"]) == 2
    assert "the data knobs ask for another split now" in capsys.readouterr().err
    train(params, "1_supervised")
    assert "1_supervised          finished" in plan.describe(params, notebooks(NOTEBOOKS))
    wrong = ("data.labels=99", "data.labels=1/1", "data.held_out=4", f"run.folder={file}/run", "run.processes=0")
    for knob in (*wrong, "run.precision=fp16"):
        capsys.readouterr()
        assert cli.main(["run", str(file), "--dry-run", "--set", knob]) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1


def test_the_memory_of_a_plan_is_what_autograd_keeps(tiny):
    params = tiny({"data.batch_labeled": 2})
    networks = open_experiment(params).networks()
    stage = STAGES["1_supervised"](networks, params).train()
    kept = {}

    def note(tensor):
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = stage({"image": torch.rand(2, 3, 32, 32), "mask": torch.zeros(2, 32, 32, dtype=torch.long)})[0]
    weights = 4 * sum(p.numel() for p in stage.parameters()) + 12 * sum(
        p.numel() for p in networks.student.parameters()
    )
    assert loss
    assert plan.memory_of(stage, 1, "fp32") == pytest.approx(weights + sum(kept.values()), rel=0.02)
    larger = tiny({"data.batch_labeled": 8})
    assert plan.memory_of(STAGES["1_supervised"](networks, larger), 1, "fp32") > weights + 3 * sum(kept.values())


def test_the_memory_of_unimatch_v2_is_a_little_below_its_published_10_gb_on_each_of_4_gpus():
    params = params_file.load("unimatch_v2_voc")
    stage = STAGES["3_semi_supervised"](blank(params, 21), params)
    assert 0.8e10 < plan.memory_of(stage, 4, "fp32") < 1e10
