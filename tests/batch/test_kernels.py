"""Forked kernels: what was imported before, what they share, and when they end."""

import ast
import subprocess
import sys

import psutil
import pytest
from patience import until

from eln_kit.batch import kernels

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not kernels.FORKS, reason="kernels are forked on Linux alone")]

CUDA = f"""
import importlib, torch
def touched(*_): raise SystemExit("CUDA was touched, which no fork could use then")
torch._C._cuda_getDeviceCount = torch.cuda.is_available = torch.cuda.device_count = touched
for name in {kernels.IMPORTED}: importlib.import_module(name)
"""
TWO = """
import asyncio, sys
from eln_kit.batch.kernels import Kernel, warm_up
async def ask(code):
    kernel = Kernel()
    await kernel.start_kernel()
    client = kernel.client()
    client.start_channels()
    await client.wait_for_ready()
    reply = await client.execute_interactive(code, user_expressions={"got": "got"}, output_hook=lambda _: None)
    print(reply["content"]["user_expressions"]["got"]["data"]["text/plain"], flush=True)
    return kernel
async def main():
    first = await ask("import os, sys, torch; torch.mark = 1; got = os.getpid(), 'eln_kit.training.fit' in sys.modules")
    second = await ask("import os, torch; got = os.getpid(), hasattr(torch, 'mark')")
    await first.shutdown_kernel()
    print(first.provisioner.process, await second.is_alive(), flush=True)
    sys.stdin.readline()
warm_up()
asyncio.run(main())
"""


def test_what_is_imported_before_forking_leaves_the_gpu_alone():
    assert subprocess.run([sys.executable, "-c", CUDA], stderr=subprocess.PIPE).stderr == b""


def test_each_kernel_is_a_process_of_its_own_and_none_outlives_a_killed_run():
    run = subprocess.Popen([sys.executable, "-c", TWO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first, imported = ast.literal_eval(run.stdout.readline())
    second, marked = ast.literal_eval(run.stdout.readline())
    assert imported
    assert not marked
    assert run.stdout.readline() == "None True\n"
    assert not psutil.pid_exists(first)
    assert psutil.pid_exists(second)
    run.kill()
    run.communicate()
    until(lambda: not psutil.pid_exists(second), patience=10)
