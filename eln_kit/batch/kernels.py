"""Kernels of notebooks, on Linux forked from a process that has imported what they need, so that they start at once.

Elsewhere each kernel is a new Python.
"""

import os
import subprocess
import threading
from multiprocessing import forkserver, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, cast

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner

from eln_kit.training.processes import FORKS
from eln_kit.training.stopping import STOPS, ignored

IMPORTED = [
    "ipykernel.kernelapp",
    "eln_kit.notebook",
    "eln_kit.training.fit",
    "eln_kit.evaluation.examples",
    "eln_kit.tools.show",
]


def warm_up() -> None:
    """Start the process that kernels are forked from; it imports while this one goes on."""
    if FORKS:
        forkserver.set_forkserver_preload(IMPORTED)
        with ignored(*STOPS):  # they are for us, and a kernel is told by us
            forkserver.ensure_running()


class Kernel(AsyncKernelManager):
    """A kernel of the Python that runs us, whichever are installed; `newest` is the one that was made last."""

    newest: "Kernel | None" = None

    def __init__(self, **options: Any):
        only_native = KernelSpecManager(kernel_dirs=[])
        super().__init__(kernel_spec_manager=only_native, transport_encryption="auto", **options)
        if FORKS:
            self.provisioner = ForkingProvisioner(kernel_spec=self.kernel_spec, parent=self)
        Kernel.newest = self

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
        """Without the kernel's echo of its cells' output, which is printed from the notebook."""
        await super().start_kernel(stdout=subprocess.DEVNULL, **options)

    async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
        """Without the interrupt that Jupyter sends first: an idle kernel prints an error about it."""
        await self.request_shutdown(restart=restart)
        await self.finish_shutdown(restart=restart)
        await self.cleanup_resources(restart=restart)


class ForkingProvisioner(LocalProvisioner):
    """How Jupyter starts and watches a forked kernel."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        process = get_context("forkserver").Process(
            target=_live, args=(arguments, options["env"], os.path.abspath(options.get("cwd", ".")))
        )
        process.start()
        self.process: Any = Forked(process)
        self.pid, self.pgid = process.pid, process.pid
        return self.connection_info


class Forked:
    """A forked process by the part of `subprocess.Popen`'s interface that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess):
        self.process, self.pid = process, cast(int, process.pid)  # it has started

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _live(arguments: list[str], env: dict[str, str], folder: str) -> None:
    """A kernel's life, in a process of its own; it ends when the one that asked for it does."""
    from ipykernel.kernelapp import IPKernelApp

    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.setsid()
    os.chdir(folder)
    os.environ.update(env)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    IPKernelApp.launch_instance([*arguments, "--matplotlib=inline"])  # matplotlib, imported before, asks for no backend


def _end_with_parent() -> None:
    cast(BaseProcess, parent_process()).join()
    os._exit(1)
