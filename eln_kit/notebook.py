"""What a notebook needs around the package: its parameters, short errors, source code to read."""

import inspect
from pathlib import Path

from IPython import get_ipython
from IPython.display import Markdown
from matplotlib.figure import Figure

from eln_kit import figures
from eln_kit.faults import Fault
from eln_kit.params import Params
from eln_kit.store import experiment
from eln_kit.store.experiment import Experiment
from eln_kit.store.params_file import build


def open_experiment(namespace: dict) -> Experiment:
    """Open the experiment that a notebook's parameters cell describes; pass `globals()`.

    From here on bad params, data or checkpoints show as one line; see `short_errors`.
    """
    short_errors()
    sections = {name: namespace[name] for name in Params.model_fields}
    return experiment.open_experiment(build(sections, namespace["knobs"], source="the notebook's parameters"))


def short_errors() -> None:
    """From here on an expected error shows as one line instead of a traceback."""
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((Fault, KeyboardInterrupt), _one_line)


def keep(figure: Figure, path: Path) -> Figure:
    """Save a figure into the run folder and give it back, to be shown."""
    figures.save(figure, path)
    return figure


def source(function) -> Markdown:
    """The source of a function or class, coloured, to be read in a notebook."""
    return Markdown(f"```python\n{inspect.getsource(function)}```")


def _one_line(shell, kind, error, traceback, tb_offset=None) -> list[str]:
    line = [f"\x1b[31m{kind.__name__}\x1b[0m: {error}"]
    shell._showtraceback(kind, error, line)
    return line
