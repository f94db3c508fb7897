"""A long training must not grow: memory, open files, what it prints and what it logs.

    PYTHONPATH=tests:tests/helpers python tests/long/endurance.py [--steps 5000]

Stage 3 on tiny networks, with everything on. Memory and open files are read ten times. `make torture` runs it.
"""

import argparse
import contextlib
import gc
import io
import sys
import tempfile
from pathlib import Path

import psutil
from torture import params_in

from eln_kit.method.stages import SemiSupervised
from eln_kit.store.experiment import open_experiment
from eln_kit.store.params_file import build
from eln_kit.training.fit import fit


class Watched(SemiSupervised):
    """Stage 3 that writes down what the process holds, ten times: MiB and open files."""

    def update_teacher(self, step: int) -> None:
        super().update_teacher(step)
        self.done = getattr(self, "done", 0) + 1
        if self.done % (self.steps // 10) == 0:
            gc.collect()
            process = psutil.Process()
            self.held = [*getattr(self, "held", []), (process.memory_info().rss / 2**20, process.num_fds())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5000)
    steps, printed = parser.parse_args().steps, io.StringIO()
    with tempfile.TemporaryDirectory() as folder:
        params = params_in(Path(folder) / "run", Path(folder) / "scenes", steps)
        params = build(params.model_dump(), {"run.log_every": 10, "run.save_every": 200})
        experiment = open_experiment(params)
        stage = Watched(experiment.networks(), params)
        with contextlib.redirect_stdout(printed):
            fit(stage, experiment)
        log = (experiment.folder / stage.name / "metrics.jsonl").stat().st_size
    for tenth, (memory, files) in enumerate(stage.held, start=1):
        print(f"step {tenth * steps // 10:>6}  {memory:8.1f} MiB  {files:>4} open files")
    (first, files), (last, files_last) = stage.held[0], stage.held[-1]
    growth, said = last / first - 1, len(printed.getvalue())
    print(f"memory grew by {growth:.1%}; metrics.jsonl {log / 1000:.0f} kB; printed {said / 1000:.1f} kB")
    return 0 if growth < 0.02 and files_last <= files and said < 200_000 else 1


if __name__ == "__main__":
    sys.exit(main())
