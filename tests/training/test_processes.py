"""Several processes, by gloo on the CPU: the same training as in one."""

import gc
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.synchronize import SemLock

import papermill
import psutil
import pytest
import together
import torch
import yaml
from patience import until
from timm.layers import convert_sync_batchnorm
from together import alone, losses

from eln_kit.faults import DataError, ParamsError, WorkerError
from eln_kit.method.stages import STAGES
from eln_kit.models import Networks
from eln_kit.paths import project_root
from eln_kit.store.experiment import open_experiment
from eln_kit.training import processes
from eln_kit.training.fit import fit

pytestmark = pytest.mark.slow

CHAIN = ("1_supervised", "2_error_localization", "3_semi_supervised")
BATCHES = {"data.batch_labeled": 4, "data.batch_unlabeled": 4, "run.log_every": 1}


@pytest.fixture(scope="module", autouse=True)
def quick_starts():
    together.forking()


OWN_PASS = {"semi_supervised.strong_pass": "own", "semi_supervised.strong_views": 2}


@pytest.mark.parametrize("more", [{"optimizer.class_weights": "sqrt"}, OWN_PASS])
def test_two_processes_have_the_losses_of_one_with_all_their_images(tiny, tmp_path, more):
    knobs = BATCHES | {"semi_supervised.windows": 2, "semi_supervised.window": 4, "semi_supervised.threshold": 0.0}
    knobs |= more
    params = {n: tiny(knobs | {"run.folder": str(tmp_path / n)}).model_dump() for n in ("one", "two")}
    alone(params["one"], *CHAIN)
    processes.launch(2, together.train_frozen, params["two"], *CHAIN)
    for stage in CHAIN:
        one, two = (losses(tmp_path / name, stage) for name in ("one", "two"))
        assert [line["step"] for line in two] == [1, 2, 3, 4]
        for expected, got in zip(one, two, strict=True):
            assert got == pytest.approx(expected, rel=1e-5)
    assert two[0]["weak"] > 0


def test_the_mean_of_the_losses_of_two_halves_is_the_loss_of_the_whole(tmp_path):
    processes.launch(2, together.save_losses_of_my_half, str(tmp_path))
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    whole = together.every_loss(slice(0, 4))
    slope = torch.cat([half.pop("slope") for half in halves]) / 2
    assert torch.allclose(slope, whole.pop("slope"), rtol=1e-4, atol=1e-7)
    for name, loss in whole.items():
        assert loss > 0
        assert (halves[0][name] + halves[1][name]).item() / 2 == pytest.approx(loss.item(), rel=1e-5)
        assert halves[0][name].item() != pytest.approx(loss.item(), rel=1e-2)


def test_a_tracker_of_two_processes_gets_the_validation_miou(tiny, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    params = tiny(BATCHES | {"run.tracker": "tensorboard", "run.folder": str(tmp_path)}).model_dump()
    processes.launch(2, together.train_frozen, params, "1_supervised")
    events = EventAccumulator(str(tmp_path / "1_supervised" / "eln-kit")).Reload()
    assert "validation_miou" in events.Tags()["scalars"]


def test_a_run_that_one_process_began_is_ended_by_two_with_the_same_losses(tiny, tmp_path):
    knobs = BATCHES | {"run.save_every": 1}
    whole = tiny(knobs | {"run.folder": str(tmp_path / "whole")}).model_dump()
    alone(whole, "1_supervised")
    begun = tiny(knobs | {"run.folder": str(tmp_path / "begun")}).model_dump()
    process = together.forking().Process(target=together.train_until_stopped, args=(begun, "1_supervised"))
    process.start()
    process.join()
    assert len(losses(tmp_path / "begun", "1_supervised")) == 3
    processes.launch(2, together.train_frozen, begun, "1_supervised")
    for expected, got in zip(*(losses(tmp_path / name, "1_supervised") for name in ("whole", "begun")), strict=True):
        assert got == pytest.approx(expected, rel=1e-5)


def test_a_notebook_trains_in_two_processes_and_shows_their_progress(tiny, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # ipykernel shows less in a test
    knobs = {"run.processes": 2, "run.folder": str(tmp_path / "run")}
    source = project_root() / "notebooks" / "1_supervised.ipynb"
    papermill.execute_notebook(source, tmp_path / "out.ipynb", tiny(knobs).model_dump(), progress_bar=False)
    text = (tmp_path / "out.ipynb").read_text()
    assert "1_supervised: 2 processes" in text
    assert "step 4/4" in text
    assert [line["step"] for line in losses(tmp_path / "run", "1_supervised")] == [2, 4]


def test_an_expected_error_in_a_process_is_raised_here_as_what_it_is_and_handlers_of_signals_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(DataError, match=r"\Aa\.png: broken\Z"):
        processes.launch(2, together.fail, "expected")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_an_image_that_one_of_two_processes_cannot_read_stops_both_in_one_line(tiny, tmp_path):
    params = tiny({"data.root": str(tmp_path / "scenes"), "run.processes": 2})
    experiment = open_experiment(params)
    bad = experiment.split.labeled[0]
    bad.image.write_bytes(b"not an image")
    with pytest.raises(DataError) as fault:
        fit(STAGES["1_supervised"](experiment.networks(), params), experiment)
    assert str(fault.value).startswith(str(bad.image))
    assert "\n" not in str(fault.value)


def test_a_killed_process_is_told_with_its_signal():
    with pytest.raises(WorkerError, match=r"killed by SIGKILL; .* run again") as fault:
        processes.launch(2, together.fail, "killed")
    assert "\n" not in str(fault.value)


def semaphores() -> set[int]:
    return {id(thing) for thing in gc.get_objects() if isinstance(thing, SemLock)}


def test_an_unexpected_error_in_a_process_comes_with_its_traceback():
    with pytest.raises(WorkerError, match=r"(?s)Traceback.*in fail.*ZeroDivisionError: surprise"):
        processes.launch(2, together.fail, "surprising")


def test_a_launcher_that_is_stopped_leaves_no_semaphore(tmp_path):
    before, started = semaphores(), tmp_path / "started"

    def stop() -> None:
        until(started.exists)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt) as kept:  # as a kernel keeps the last error
        processes.launch(2, together.wait, str(started))
    assert semaphores() <= before, kept


def test_auto_takes_as_many_gpus_as_divide_the_batches(tiny, monkeypatch):
    for gpus, labeled, unlabeled, expected in ((0, 6, 6, 1), (1, 6, 6, 1), (4, 6, 6, 3), (8, 8, 4, 4), (2, 3, 4, 1)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        params = tiny({"data.batch_labeled": labeled, "data.batch_unlabeled": unlabeled})
        assert processes.count(params, unlabeled=True) == expected
    assert processes.count(tiny({"data.batch_labeled": 8, "data.batch_unlabeled": 3}), unlabeled=False) == 2


def test_cutmix_finds_two_images_in_every_process(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    knobs = {"data.batch_labeled": 8, "data.batch_unlabeled": 8, "views.cutmix": 0.5}
    assert processes.count(tiny(knobs), unlabeled=True) == 4
    assert processes.count(tiny(knobs), unlabeled=False) == 8
    with pytest.raises(ParamsError, match=r"data\.batch_unlabeled = 8: each of 8 processes has one image"):
        processes.count(tiny(knobs | {"run.processes": 8}), unlabeled=True)


def test_more_processes_than_gpus_or_an_uneven_share_is_one_clear_line(tiny, monkeypatch):
    with pytest.raises(ParamsError, match=r"data\.batch_labeled = 3: 2 processes cannot share it evenly"):
        processes.count(tiny({"data.batch_labeled": 3, "run.processes": 2}), unlabeled=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParamsError, match=r"run\.processes = 2: there are 1 GPUs here"):
        processes.count(tiny({"run.processes": 2}), unlabeled=True)


@pytest.mark.parametrize("encoder", ["resnet10t", "tf_efficientnet_lite0"])
def test_batchnorm_becomes_synchronised_everywhere_and_keeps_its_names(tiny, encoder):
    networks = Networks(tiny({"model.encoder": encoder}), classes=3)
    names = list(networks.state_dict())
    parameters = {id(p) for p in networks.parameters()}
    convert_sync_batchnorm(networks)
    plain = [m for m in networks.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not plain
    assert list(networks.state_dict()) == names
    assert {id(p) for p in networks.parameters()} == parameters


def test_what_a_shell_has_left_over_of_another_launcher_is_ignored(tiny, monkeypatch):
    for name, value in {"LOCAL_RANK": "1", "RANK": "1", "WORLD_SIZE": "2", "PMI_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    params = tiny()
    experiment = open_experiment(params)
    assert [line["step"] for line in fit(STAGES["1_supervised"](experiment.networks(), params), experiment)] == [2, 4]


@pytest.mark.parametrize("more", [{"data.workers": 1}, {"run.processes": 2}])
def test_a_signal_to_the_processes_that_help_training_too_saves_first(tiny, tmp_path, more):
    file, log = tmp_path / "x.yaml", tmp_path / "run" / "1_supervised" / "metrics.jsonl"
    file.write_text(yaml.safe_dump(tiny(more | {"supervised.steps": 10**6, "run.save_every": 10**6}).model_dump()))
    process = together.forking().Process(target=together.train_by_command, args=(str(file), "1_supervised"))
    process.start()
    until(lambda: not process.is_alive() or (log.is_file() and log.read_text()))
    for each in (*psutil.Process(process.pid).children(recursive=True), process, process):
        os.kill(each.pid, signal.SIGTERM)
    process.join(120)
    err = (tmp_path / "x.yaml.err").read_text()
    assert process.exitcode == 75, err
    assert int(err.partition("1_supervised: saved at step ")[2].partition(";")[0]) > 1
    assert "death signal" not in err


@pytest.mark.nightly
def test_torchrun_trains_a_stage_without_its_notebook(tiny, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(tiny({"run.folder": str(tmp_path / "run")}).model_dump()))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, "-m", "eln_kit.training", str(file), "1_supervised"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in losses(tmp_path / "run", "1_supervised")] == [2, 4]
