import os
import subprocess
import sys

import pytest

from eln_kit.faults import Fault, LockedError
from eln_kit.method.stages import Supervised
from eln_kit.store.experiment import open_experiment
from eln_kit.store.lock import held
from eln_kit.training.fit import fit

HOLD = """
import sys
from pathlib import Path
from eln_kit.store.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that works in a folder, which `tmp_path / "run" / "1_supervised"` is."""
    folder = tmp_path / "run" / "1_supervised"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_who_comes_second_is_told_who_has_the_folder(tmp_path, other):
    folder = tmp_path / "run" / "1_supervised"
    told = pytest.raises(LockedError, match=rf"1_supervised: in use by process {other.pid} on .* since 20")
    with told, held(folder, patience=0.2):
        pass


def test_a_stage_that_another_process_trains_is_left_alone(tiny, other, monkeypatch):
    monkeypatch.setattr("eln_kit.store.lock.held.__wrapped__.__defaults__", (0.1,))
    experiment = open_experiment(tiny())
    with pytest.raises(LockedError, match=f"in use by process {other.pid}"):
        fit(Supervised(experiment.networks(), experiment.params), experiment)
    assert os.listdir(experiment.folder / "1_supervised") == [".lock"]


def test_a_lock_goes_with_its_process(tmp_path, other):
    other.kill()
    other.wait()
    with held(tmp_path / "run" / "1_supervised", patience=1):
        pass


def test_a_full_disk_is_one_line(tmp_path):
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)){HOLD}"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.stderr.strip().endswith(f"Fault: {tmp_path}: cannot be written (File too large); set run.folder")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match=r"stage: cannot be written \(Not a directory\)"), held(tmp_path / "file" / "stage"):
        pass
