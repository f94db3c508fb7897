"""`eln-kit run` in a process of its own, to be stopped and killed."""

import fcntl
import os
import signal
import sys
import termios

from eln_kit import cli
from eln_kit.batch import kernels, run, state


def run_notebooks(folder: str, *names: str, forks: bool = False, terminal: str = "", killed_before: str = "") -> None:
    """`eln-kit run params/toy.yaml` in a folder, on these notebooks; what it prints is in the files out and err.

    Args:
        forks: whether kernels are forked; else each is a new Python, which for a toy notebook is quicker.
        terminal: the one that the process is to have as its own.
        killed_before: the notebook before which it is killed.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(folder)
    os.setsid()
    for number, file in enumerate((terminal or os.devnull, terminal or "out", terminal or "err")):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOCTTY), number)
    if terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    execute = run._execute

    def execute_or_die(source, *more):
        if source.stem == killed_before:
            os.kill(os.getpid(), signal.SIGKILL)
        execute(source, *more)

    run._execute = execute_or_die
    state.NOTEBOOKS[:] = names
    kernels.FORKS = forks
    sys.exit(cli.main(["run", "params/toy.yaml"]))
