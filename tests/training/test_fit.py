import dataclasses
import json
import os
import shutil
import signal

import pytest
import torch
import yaml
from finished import copied, train

from eln_kit.data import Split
from eln_kit.data.splits import check_unlabeled
from eln_kit.device import precision_of
from eln_kit.faults import CheckpointError, DataError, ParamsError, TrainingError
from eln_kit.method.stages import Bound, ErrorLocalization, SemiSupervised, Supervised
from eln_kit.store import checkpoint
from eln_kit.store.experiment import open_experiment
from eln_kit.training.__main__ import main
from eln_kit.training.fit import fit
from eln_kit.training.log import Log

pytestmark = pytest.mark.slow

STAGES = ("1_supervised", "2_error_localization", "3_semi_supervised")


def resume(params, kind, step, deed, caught, monkeypatch, source=None):
    """The run of a stage in which `deed` happened once, in the midst of a step, and which then went on.

    Stages before it are those of `source`, a run folder.
    """
    experiment = copied(source, params, *STAGES[: STAGES.index(kind.name)])
    with monkeypatch.context() as patch:
        stop_in_step(patch, kind, step, deed)
        with caught:
            fit(kind(experiment.networks(kind.after), params), experiment)
    fit(kind(experiment.networks(kind.after), params), experiment)
    return experiment


def alike(one, other, stage):
    """Whether the logs and the weights of a stage in two runs are the same, to the bit."""
    logs, states = [], []
    for folder in (one, other):
        lines = map(json.loads, (folder / stage / "metrics.jsonl").read_text().splitlines())
        logs.append([{k: v for k, v in line.items() if k != "images_per_s"} for line in lines])
        parts = checkpoint.load(folder / stage / checkpoint.FILE)["networks"]
        states.append({f"{part}.{name}": v for part, state in parts.items() for name, v in state.items()})
    same = states[0].keys() == states[1].keys() and all(map(torch.equal, *(state.values() for state in states)))
    return same and logs[0] == logs[1]


def stop_in_step(monkeypatch, kind, step, deed):
    """Do `deed` once, in the midst of the given step of the given stage."""
    forward, count = kind.forward, iter(range(1, 1000))

    def watched(self, batch):
        if next(count) == step:
            deed()
        return forward(self, batch)

    monkeypatch.setattr(kind, "forward", watched)


def saved(step):
    return pytest.raises(KeyboardInterrupt, match=f"saved at step {step}")


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        (Supervised, signal.SIGTERM),
        (Supervised, signal.SIGINT),
        (Supervised, signal.SIGHUP),
        (ErrorLocalization, signal.SIGTERM),
        (SemiSupervised, signal.SIGTERM),
    ],
)
def test_a_stopped_and_resumed_run_ends_like_an_uninterrupted_one(tiny, whole, monkeypatch, kind, number):
    stopped = resume(tiny(), kind, 3, lambda: os.kill(os.getpid(), number), saved(3), monkeypatch, whole)
    assert alike(stopped.folder, whole, kind.name)


@pytest.mark.parametrize(
    "decoder", ["fpn", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("segformer", "upernet"))]
)
def test_a_resumed_run_ends_alike_with_every_decoder_and_all_of_stage_3(tiny, tmp_path, monkeypatch, decoder):
    knobs = {"model.decoder": decoder, "model.decoder_channels": 32, "semi_supervised.strong_pass": "own"}
    knobs |= {"semi_supervised.strong_views": 2, "views.cutmix": 0.5}
    knobs |= {"semi_supervised.ema_warmup": True, "optimizer.warmup": 2}
    knobs |= {
        "semi_supervised.complementary": True,
        "optimizer.schedule": "cosine",
        "model.freeze_encoder": decoder == "upernet",
        "model.eln_form": "features" if decoder == "fpn" else "residual",
        "error_localization.target": "true_class" if decoder == "fpn" else "right",
        "optimizer.class_weights": "sqrt",
        "semi_supervised.ramp": 5,
        "data.batch_unlabeled": 2,
    }
    whole = train(tiny(knobs | {"run.folder": str(tmp_path / "whole")}), *STAGES)
    params = tiny(knobs | {"run.folder": str(tmp_path / "stopped")})
    stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
    stopped = resume(params, SemiSupervised, 3, stop, saved(3), monkeypatch, whole.folder)
    assert alike(stopped.folder, whole.folder, "3_semi_supervised")


def test_under_nohup_a_closed_terminal_stops_nothing(tiny, monkeypatch):
    stop_in_step(monkeypatch, Supervised, 3, lambda: os.kill(os.getpid(), signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        experiment = train(tiny(), "1_supervised")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert [record["step"] for record in experiment.records("1_supervised")] == [2, 4]


def test_a_run_that_died_goes_on_from_its_last_checkpoint_without_doubled_steps(tiny, whole, monkeypatch):
    def die():
        raise MemoryError

    params = tiny({"run.log_every": 1})  # so step 3 is logged, and the checkpoint is of step 2
    died = resume(params, Supervised, 4, die, pytest.raises(MemoryError), monkeypatch)
    assert [record["step"] for record in died.records("1_supervised")] == [1, 2, 3, 4]
    shutil.copy(whole / "1_supervised/metrics.jsonl", died.folder / "1_supervised/metrics.jsonl")
    assert alike(died.folder, whole, "1_supervised")


def test_a_finished_stage_is_loaded_not_trained_again(run, monkeypatch):
    networks = run.networks("1_supervised")
    monkeypatch.setattr(Supervised, "forward", None)
    again = run.networks()
    assert fit(Supervised(again, run.params), run)[-1]["step"] == 4
    assert torch.equal(again.student.classify[-1].weight, networks.student.classify[-1].weight)


def test_the_loss_falls_and_the_log_has_a_line_every_few_steps(tiny):
    params = tiny({"run.log_every": 5, "data.batch_labeled": 4, "optimizer.lr": 5e-3, "supervised.steps": 20})
    records = train(params, "1_supervised").records("1_supervised")
    assert [record["step"] for record in records] == [5, 10, 15, 20]
    assert records[-1]["main"] < 0.8 * records[0]["main"]


def test_training_weighs_classes_by_the_labelled_images_and_other_weights_are_another_run(tiny, whole):
    weighted = open_experiment(tiny({"optimizer.class_weights": "sqrt"}))
    stage = Supervised(weighted.networks(), weighted.params)
    fit(stage, weighted)
    assert torch.equal(stage.class_weights, weighted.class_weights)
    assert not alike(weighted.folder, whole, "1_supervised")
    with pytest.raises(CheckpointError, match=r"optimizer\.class_weights was 'sqrt' and is 'none'"):
        open_experiment(tiny()).networks(after="1_supervised")


def test_a_loss_that_is_no_number_stops_training_and_names_step_and_loss(tiny, monkeypatch):
    params = tiny({"run.save_every": 2, "run.log_every": 10})
    experiment = open_experiment(params)
    forward, count = Supervised.forward, iter(range(1, 100))
    monkeypatch.setattr(
        Supervised,
        "forward",
        lambda self, batch: ({"main": forward(self, batch)[0]["main"] * (torch.nan if next(count) == 3 else 1)}, {}),
    )
    with pytest.raises(TrainingError, match="step 3: loss main is nan"):
        fit(Supervised(experiment.networks(), params), experiment)
    assert checkpoint.load(experiment.folder / "1_supervised" / checkpoint.FILE)["step"] == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_went_bad_stops_training_in_one_line_with_the_steps_so_far_saved(tiny, tmp_path, workers):
    params = tiny({"data.root": str(tmp_path / "scenes"), "data.workers": workers, "run.save_every": 100})
    experiment = open_experiment(params)
    bad = experiment.split.labeled[3]  # of the second step
    bad.image.write_bytes(b"not an image")
    with pytest.raises(DataError) as fault:
        fit(Supervised(experiment.networks(), params), experiment)
    assert str(fault.value).startswith(str(bad.image))
    assert "\n" not in str(fault.value)
    state = checkpoint.load(experiment.folder / "1_supervised" / checkpoint.FILE)
    assert state["step"] == 1
    assert not state["finished"]


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"step": Evil()}, tmp_path / "1_supervised.pt")
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        checkpoint.load(tmp_path / "1_supervised.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_other_shapes_is_refused(tmp_path):
    network = torch.nn.ModuleDict({"student": torch.nn.Linear(2, 3)})
    with pytest.raises(CheckpointError, match=r"student does not fit.*size mismatch"):
        checkpoint.restore(tmp_path, network, {"student": torch.nn.Linear(2, 4).state_dict()})


def test_a_failed_write_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / checkpoint.FILE
    whole = dict.fromkeys(checkpoint.KEYS, 1)
    checkpoint.save(path, whole)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: could not be written \(No space left on device\)"):
        checkpoint.save(path, whole | {"step": 2})
    assert checkpoint.load(path)["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == [checkpoint.FILE]


def test_a_log_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "main": 1.0}\n{"step": 4, "ma')
    Log(path, 2, [], reduce=lambda rows: rows)
    assert path.read_text() == '{"step": 2, "main": 1.0}\n'


def test_training_without_a_notebook_complains_in_one_line(tiny, tmp_path, capsys):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(tiny().model_dump()))
    assert main([str(file), "2_error_localization"]) == 1
    assert "run notebooks/1_supervised.ipynb first" in capsys.readouterr().err


SINGLE = {"views.crop": [16, 16], "data.batch_unlabeled": 1}
OWN = {"semi_supervised.strong_pass": "own"}


@pytest.mark.parametrize(
    ("knobs", "stage"),
    [(SINGLE | {"data.batch_labeled": 1}, "1_supervised"), (SINGLE | OWN, "3_semi_supervised")],
)
def test_a_single_small_crop_is_refused_before_any_stage_trains(tiny, knobs, stage):
    experiment = open_experiment(tiny(knobs))
    knobs_named = r"views\.crop = \[16, 16\] with data\.batch_labeled = \d and data\.batch_unlabeled = 1 in 1 process:"
    with pytest.raises(ParamsError, match=rf"\A{knobs_named} .* in {stage}; enlarge the crop or the batch\Z"):
        fit(Supervised(experiment.networks(), experiment.params), experiment)
    assert not (experiment.folder / "1_supervised").exists()


def test_a_single_larger_crop_trains(tiny):
    train(tiny({"data.batch_labeled": 1, "data.batch_unlabeled": 1}), *STAGES)


def test_stage_3_without_unlabelled_images_says_what_to_do(tiny):
    params = tiny({"data.labels": "1/1"})
    experiment = open_experiment(params)
    with pytest.raises(DataError, match="no unlabelled images are left"):
        fit(SemiSupervised(experiment.networks(), params), experiment)
    assert not checkpoint.stages(experiment.folder), "or it would refuse the knob that mends it"


@pytest.mark.parametrize("content", [None, {}, [1]])
def test_a_file_that_is_no_checkpoint_is_one_clear_line(tmp_path, content):
    path = tmp_path / "1_supervised" / checkpoint.FILE
    path.parent.mkdir()
    path.write_bytes(b"") if content is None else torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: not a") as fault:
        checkpoint.load(path)
    assert "\n" not in str(fault.value)


def test_the_oracle_needs_masks_of_the_unlabelled_images(tiny):
    params = tiny({"semi_supervised.filter": "oracle"})
    experiment = open_experiment(params)
    blind = [dataclasses.replace(item, mask=None) for item in experiment.split.unlabeled]
    experiment = dataclasses.replace(experiment, split=Split(experiment.split.labeled, blind))
    with pytest.raises(DataError, match="filter=oracle needs masks"):
        fit(SemiSupervised(experiment.networks(), params), experiment)


def test_without_masks_of_unlabelled_images_there_is_no_bound_and_no_complaint(tiny):
    experiment = open_experiment(tiny({"evaluation.bound_steps": 2}))
    assert experiment.bounded
    blind = [dataclasses.replace(item, mask=None) for item in experiment.split.unlabeled]
    experiment = dataclasses.replace(experiment, split=Split(experiment.split.labeled, blind))
    assert not experiment.bounded
    check_unlabeled(experiment.params, experiment.split)
    with pytest.raises(DataError, match="bound_steps needs masks of unlabelled images"):
        fit(Bound(experiment.networks(), experiment.params), experiment)


def test_bf16_is_chosen_where_it_pays_and_can_be_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    dense, depthwise = torch.nn.Conv2d(4, 4, 3), torch.nn.Conv2d(4, 4, 3, groups=4)
    assert [precision_of("auto", network)[0] for network in (dense, depthwise)] == ["bf16", "fp32"]
    assert precision_of("bf16", depthwise)[0] == "bf16"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True, raising=False)
    assert precision_of("auto", depthwise)[0] == "bf16"
    for name in ("amx_tile", "avx512_bf16"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: False, raising=False)
    assert precision_of("auto", dense)[0] == "fp32"
    assert precision_of("fp32", dense)[0] == "fp32"


def test_a_stage_goes_on_from_the_checkpoint_before_one_that_is_broken(run, whole, capsys):
    path = run.folder / "1_supervised" / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:1000])
    fit(Supervised(run.networks(), run.params), run)
    assert "going on from checkpoint.1.pt" in capsys.readouterr().err
    assert alike(run.folder, whole, "1_supervised")


def test_a_full_disk_is_one_line_where_the_log_is_written_too(tiny, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    experiment = open_experiment(tiny())
    monkeypatch.setattr("eln_kit.training.log.write_whole", full)
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written \(No space left on device\)"):
        fit(Supervised(experiment.networks(), experiment.params), experiment)


def test_one_bad_image_among_many_is_skipped_and_told(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("eln_kit.training.feed.TOLERATED", 0.3)  # as one of 4 labelled images is a quarter
    params = tiny({"data.root": str(tmp_path / "scenes"), "data.workers": 2})
    experiment = open_experiment(params)
    bad = experiment.split.labeled[0].image
    bad.write_bytes(b"not an image")
    assert fit(Supervised(experiment.networks(), params), experiment)[-1]["step"] == 4
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("skipped")]
    assert len(told) == 1
    assert str(bad) in told[0]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that workers are out of"
        ),
        RuntimeError("unable to write to file </torch_7>: No space left on device (28), shared memory"),
    ],
)
def test_a_small_shared_memory_is_one_line_that_names_it_and_the_knob(tiny, monkeypatch, error):
    def broken(*_):
        raise error
        yield

    monkeypatch.setattr("eln_kit.training.feed.training_batches", broken)
    with pytest.raises(
        DataError, match=r"\Aa loader process died .*/dev/shm .*--shm-size.*data\.workers=0 \(docs/trouble\.md\)\Z"
    ):
        train(tiny(), "1_supervised")
