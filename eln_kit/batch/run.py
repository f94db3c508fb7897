"""A params file through the notebooks: papermill executes them in order into the run folder.

The run folder is the run: the same command goes on where it stopped. `state.json` there says which notebooks
finished and from what; each leaves `<name>.ipynb` and `<name>.html`, and `index.html`, which is renewed all the
while, leads to everything.
"""

import ast
import contextlib
import os
import signal
import sys
import textwrap
import threading
import time
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbformat.reader import NotJSONError
from papermill.exceptions import PapermillException, PapermillExecutionError

from eln_kit.batch import index
from eln_kit.batch.kernels import Kernel
from eln_kit.batch.page import export
from eln_kit.batch.report import duration
from eln_kit.batch.state import finished_before, read_state, write_state
from eln_kit.faults import Interrupted, RunError
from eln_kit.params import Params
from eln_kit.paths import project_root, resolve, writing
from eln_kit.store.checkpoint import check_stages
from eln_kit.store.lock import held
from eln_kit.store.params_file import save
from eln_kit.training.stopping import handled, leave_closed_terminal

SAVING = 60  # seconds a notebook has for saving when it is stopped


class Stop:
    """As the handler of SIGINT, SIGTERM and SIGHUP it interrupts the running cell, which has `SAVING` seconds to save.

    After a first signal SIGINT kills the kernel at once. `signal` is the first signal's number, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.timer = threading.Timer(SAVING, self._send, [signal.SIGKILL])
        self.timer.daemon = True

    def close(self) -> None:
        """No kernel is killed after the run has ended."""
        self.timer.cancel()

    def check(self, saved: str = "") -> None:
        """Raise `Interrupted` if a signal came; `saved` tells what was saved."""
        if self.signal is not None:
            raise Interrupted(saved or "interrupted; run the same command to go on")

    def __call__(self, number: int, _frame: object) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:  # a person's; SLURM repeats SIGTERM by itself
                self._send(signal.SIGKILL)
            return
        self.signal = number
        leave_closed_terminal()
        os.write(2, f"\nstopping; the notebook has {SAVING} s to save (Ctrl-C: stop at once)\n".encode())
        self._send(signal.SIGINT)
        self.timer.start()

    def _send(self, number: int) -> None:
        """To the kernel alone: its loader processes stay alive while it saves."""
        process = getattr(Kernel.newest and Kernel.newest.provisioner, "process", None)
        if process:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def run(params: Params, sources: dict[str, Path]) -> None:
    """Execute the notebooks (files by name, from `state.notebooks`) that have not finished with these params.

    Raises:
        CheckpointError: the folder holds stages trained with other params; nothing was touched.
        RunError: a notebook failed, or the run folder cannot be used.
        LockedError: another run uses the folder.
        Interrupted: SIGINT, SIGTERM or SIGHUP came.
    """
    folder, stop = resolve(params.run.folder), Stop()
    with writing(folder, "; set run.folder to another", RunError):
        check_stages(folder, params)
        with held(folder, patience=0), handled(stop), contextlib.closing(stop):
            save(params, folder / "params.yaml")
            print(textwrap.fill(f"changed  {' '.join(params.changed()) or 'nothing'}", 120, subsequent_indent=" " * 9))
            with index.renewed(folder):
                _run_all(folder, sources, params.model_dump(), stop)


def _run_all(folder: Path, sources: dict[str, Path], parameters: dict, stop: Stop) -> None:
    before = read_state(folder)
    state = {name: before.get(name, {"state": "not run"}) for name in sources}
    for name, (finished, mark) in finished_before(folder, sources, parameters).items():
        source, executed = sources[name], folder / f"{name}.ipynb"
        if finished:
            print(f"{name}: finished before, skipped", flush=True)
            continue
        stop.check()
        left = index.training_left(folder)
        print(f"{name}: running{left and f'; {left} of training left in all stages'}", flush=True)
        begin = time.monotonic()
        state[name] = {"state": "running", "mark": mark}
        write_state(folder, state)
        try:
            _execute(source, executed, stop)
            state[name]["state"] = "finished"
        except (RunError, Interrupted) as error:
            state[name] |= {
                "state": "failed" if isinstance(error, RunError) else "interrupted",
                "error": str(error),
            }
            raise
        finally:
            state[name]["seconds"] = round(time.monotonic() - begin, 1)
            write_state(folder, state)
            export(executed)
        print(f"{name}: finished in {duration(state[name]['seconds'])}", flush=True)


def _execute(source: Path, executed: Path, stop: Stop) -> None:
    """Execute one notebook on the params of the run folder; its printed lines appear as they come."""
    parameters = {"params": str(executed.parent), "knobs": ""}
    begun = []

    def begin(cell: nbformat.NotebookNode, **_: object) -> None:
        begun.extend([cell] if cell.cell_type == "code" else [])
        stop.check()

    try:
        _tell_ignored(source)
        papermill.execute_notebook(
            source,
            executed,
            parameters,
            kernel_name="python3",
            language="python",
            cwd=project_root(),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
            kernel_manager_class=Kernel,
            on_cell_start=begin,
            coalesce_streams=True,
        )
    except PapermillExecutionError as error:
        stop.check(error.evalue if error.ename == "KeyboardInterrupt" else "")
        why = " ".join(f"{error.ename}: {error.evalue}".split())
        raise RunError(f"{source.stem}: failed in cell [{error.exec_count}]: {why}") from None
    except DeadKernelError:
        stop.check()
        where = f"{source.stem}: its kernel died in cell [{len(begun)}]"
        raise RunError(f"{where}; the system may have run out of memory") from None
    except (PapermillException, NotJSONError, RuntimeError) as error:
        stop.check()
        raise RunError(f"{source.stem}: cannot be executed: {' '.join(str(error).split())}") from None
    stop.check()


def _tell_ignored(source: Path) -> None:
    """What someone has saved in a notebook's parameters cell does not count here."""
    cells = nbformat.read(source, as_version=4).cells
    saved = next((cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])), "")
    with contextlib.suppress(SyntaxError):
        for line in ast.parse(saved).body:
            if isinstance(line, ast.Assign) and ast.unparse(line.value) not in ("''", "'shapes'"):
                print(f"{source.stem}: {ast.unparse(line)} is saved in the notebook, and not used", flush=True)
