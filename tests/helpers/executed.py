"""Notebooks executed as `eln-kit run` does it: in a kernel forked from a process that has imported everything."""

from pathlib import Path

import papermill

from eln_kit.batch import kernels
from eln_kit.paths import project_root


def execute(name: str | Path, out: Path, /, **parameters) -> str:
    """Execute a notebook of the package, or a file; gives the text of the executed file."""
    kernels.warm_up()
    source = name if isinstance(name, Path) else project_root() / "notebooks" / f"{name}.ipynb"
    how = {"kernel_manager_class": kernels.Kernel, "kernel_name": "python3", "language": "python"}
    papermill.execute_notebook(source, out, parameters, progress_bar=False, **how)
    return out.read_text()
