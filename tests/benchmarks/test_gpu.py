"""benchmarks/gpu.py at a tiny size on a processor: every part ends with figures."""

import json
import subprocess
import sys

import pytest
from conftest import TINY

from eln_kit.paths import project_root

pytestmark = [pytest.mark.slow, pytest.mark.nightly]


def test_everything_open_on_a_gpu_is_measured_in_one_go(tmp_path):
    small = ("views.", "model.", "data.shapes_size", "data.batch")
    knobs = [f"{name}={value}" for name, value in TINY.items() if name.startswith(small)]
    knobs += [f"data.root={tmp_path / 'scenes'}", "model.dilations=[]", "model.eln_dilations=[]"]
    command = [sys.executable, "benchmarks/gpu.py", str(tmp_path / "out"), "--rounds", "1", "--set", *knobs]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]
    assert list(parts) == ["bf16", "channels_last off", "contrast", "compiled"]
    assert [len(rows) for rows in parts.values()] == [9, 3, 2, 3], parts
    assert all(row["a"] > 0 and row["c"] > 0 and row["gib"] > 0 for row in parts["bf16"])
    lines = (tmp_path / "out" / "gpu.md").read_text().splitlines()
    assert sum(line.startswith("| voc_20_res101, compiled | ") for line in lines) == 3
