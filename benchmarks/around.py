"""What a stage costs around its steps, on this machine.

    python benchmarks/around.py [--rounds 5] [--json FILE]

Each figure is a median over interleaved rounds, in seconds unless said otherwise:

- `import`: a new Python that imports what a training notebook does.
- `first step`: from the command that trains a stage without its notebook to its end, with one step, its checkpoint and
  all imports.
- `notebook`: the notebook of stage 1, with a few steps, executed by papermill; `as a script`: the code of its cells in
  one new Python. Their difference, `overhead`, is what the notebook adds, and does not grow with the steps.
- `evaluation`: images a second of `segmentation.measure`, at 64x64 and at 360x480.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import nbformat
import papermill

from eln_kit.data import open_dataset
from eln_kit.evaluation import segmentation
from eln_kit.models import Networks
from eln_kit.paths import project_root
from eln_kit.store.params_file import build

NOTEBOOK = project_root() / "notebooks" / "1_supervised.ipynb"
IMPORTS = "from eln_kit import notebook; from eln_kit.evaluation import examples; from eln_kit.training.fit import fit"
STEPS = "supervised.steps=20"


def seconds(act, *arguments) -> float:
    begin = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begin


def python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=project_root())


def by_papermill(folder: str) -> None:
    knobs = {"knobs": f"{STEPS} run.folder={folder}"}
    papermill.execute_notebook(
        NOTEBOOK, f"{folder}.ipynb", knobs, kernel_name="python3", progress_bar=False, cwd=project_root()
    )


def as_a_script(folder: str) -> None:
    """The same cells in one Python; `knobs` is set after the parameters cell, as papermill does."""
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    code = [cell.source for cell in cells]
    place = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    code.insert(place + 1, f"knobs = '{STEPS} run.folder={folder}'")
    python("-c", "\n".join(code))


def evaluation(size: int | tuple[int, int]) -> float:
    """Images a second."""
    params = build({}, {"evaluation.size": size, "evaluation.images": 40} if size else {"evaluation.images": 100})
    dataset = open_dataset(params.data)
    student = Networks(params, len(dataset.classes)).student
    return params.evaluation.images / seconds(segmentation.measure, student, dataset, params)


def measure(rounds: int, folder: Path) -> dict[str, float]:
    found = {name: [] for name in ("import", "first step", "notebook", "as a script", "64x64", "360x480")}
    train = ("-m", "eln_kit.training", "params/shapes.yaml", "1_supervised", "--set", "supervised.steps=1", "--set")
    for number in range(rounds):
        found["import"].append(seconds(python, "-c", IMPORTS))
        found["first step"].append(seconds(python, *train, f"run.folder={folder / f'first_{number}'}"))
        found["notebook"].append(seconds(by_papermill, str(folder / f"notebook_{number}")))
        found["as a script"].append(seconds(as_a_script, str(folder / f"script_{number}")))
        found["64x64"].append(evaluation([]))
        found["360x480"].append(evaluation([360, 480]))
    medians = {name: median(values) for name, values in found.items()}
    overhead = median(a - b for a, b in zip(found["notebook"], found["as a script"], strict=True))
    return medians | {"overhead": overhead, "overhead of a stage of 2 minutes, %": 100 * overhead / 120}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options.rounds, Path(folder))
    for name, value in found.items():
        print(f"{name:<38}{value:>8.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
