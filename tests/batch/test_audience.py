"""A person who watches is told from papermill by what the kernel was asked, and not by the environment."""

import papermill
import pytest
from jupyter_client.manager import start_new_kernel

from eln_kit import audience
from eln_kit.paths import project_root
from eln_kit.store.params_file import save

pytestmark = pytest.mark.slow


def test_papermill_started_in_a_notebook_has_pictures_and_no_controls(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebooks/any.ipynb")  # as a front end sets it for all that it starts
    save(tiny(), tmp_path / "tiny.yaml")
    parameters = {"params": str(tmp_path / "tiny.yaml")}
    source = project_root() / "notebooks" / "0_data.ipynb"
    done = papermill.execute_notebook(source, None, parameters, kernel_name="python3", progress_bar=False)
    kinds = [kind for cell in done.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 2
    assert "application/vnd.jupyter.widget-view+json" not in kinds


def test_a_front_end_that_can_answer_is_a_person_whatever_it_calls_itself(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        for can_answer in (True, False):
            said: list = []
            client.execute_interactive(
                "from eln_kit.audience import person_watches; person_watches()",
                allow_stdin=can_answer,
                output_hook=said.append,
                timeout=120,
            )
            shown = [each["content"]["data"]["text/plain"] for each in said if each["msg_type"] == "execute_result"]
            assert shown == [str(can_answer)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_outside_a_kernel_a_terminal_is_a_person(monkeypatch):
    for is_terminal in (True, False):
        monkeypatch.setattr("sys.stderr.isatty", lambda value=is_terminal: value, raising=False)
        assert audience.person_watches() is is_terminal
