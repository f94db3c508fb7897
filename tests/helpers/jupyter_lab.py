"""JupyterLab on a free port, and a page of it in Chromium."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 120  # seconds
LIGHT = "JupyterLab Light"


@contextmanager
def served(project: Path) -> Iterator[str]:
    """JupyterLab in a folder, with settings of its own; gives its address, whose token is `t`."""
    set_up(project)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={project}"]
    options += [
        "--ServerApp.ip=127.0.0.1",
        "--IdentityProvider.token=t",
        "--LabApp.news_url=",
        "--no-browser",
        "--allow-root",
    ]
    own = {f"JUPYTER_{kind}_DIR": str(project / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(project / "settings")}
    command = [sys.executable, "-m", "jupyter", "lab", *options]
    with open(project / "server.log", "w") as log:
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/status?token=t", process, project / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def set_up(project: Path, theme: str = LIGHT, subshells: str = "") -> None:
    """Settings of the pages that are opened from now on.

    Args:
        subshells: where widgets' messages go: `disabled`, `perComm` or `perCommTarget`; empty for the default.
    """
    for name, values in {
        "apputils-extension/kernels-settings": {"commsOverSubshells": subshells} if subshells else {},
        "notebook-extension/tracker": {"windowingMode": "none"},  # else cells out of sight are not on the page
        "apputils-extension/notification": {"fetchNews": "false"},  # no question about news
        "apputils-extension/themes": {"theme": theme},
    }.items():
        file = project / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))


def end_kernels(address: str) -> None:
    """Of all notebooks."""
    with urllib.request.urlopen(f"{address}/api/sessions?token=t") as answer:
        sessions = json.load(answer)
    for session in sessions:
        urllib.request.urlopen(
            urllib.request.Request(f"{address}/api/sessions/{session['id']}?token=t", method="DELETE")
        ).close()


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)


@contextmanager
def opened(address: str, width: int, height: int) -> Iterator[Page]:
    """The page at an address, in a window of this size."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        yield page
        browser.close()


def run_all(page: Page) -> None:
    page.get_by_text("| Idle").wait_for()  # earlier, JupyterLab asks which kernel to run in
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def slider(page: Page, name: str):
    return page.locator(".widget-slider", has_text=name).locator(".noUi-handle")
