"""How long commands take that a person waits for: python benchmarks/commands.py RUN, a finished run folder.

The median of three, in seconds, of whole processes on an idle machine.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from eln_kit.store.experiment import reopen

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    image = reopen(run).dataset.val[0].image
    with tempfile.TemporaryDirectory() as out:
        commands = [
            ["--help"],
            ["--version"],
            ["knobs"],
            ["run", f"{run}/params.yaml", "--dry-run"],
            ["run", f"{run}/params.yaml"],
            ["show", str(run), "--image", str(image), "--out", out],
            ["evaluate", str(run)],
        ]
        for command in commands:
            taken = []
            for _ in range(ROUNDS):
                begin = time.perf_counter()
                subprocess.run([sys.executable, "-m", "eln_kit.cli", *command], check=True, capture_output=True)
                taken.append(time.perf_counter() - begin)
            print(f"{median(taken):6.2f} s  eln-kit {' '.join(command[:1] + command[2:3])}", flush=True)


if __name__ == "__main__":
    main()
