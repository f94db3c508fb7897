"""Who sees what is printed."""

import sys


def person_watches() -> bool:
    """Whether somebody sees output as it comes, and can move controls.

    A notebook's kernel knows whether whoever asked for the cell's execution can answer a question: a front end can,
    papermill cannot. Elsewhere it is whether errors go to a terminal.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if kernel := getattr(shell, "kernel", None):
        return getattr(kernel, "_allow_stdin", False)
    return sys.stderr.isatty()
