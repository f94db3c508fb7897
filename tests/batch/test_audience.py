"""A person who watches is told from papermill by what the kernel was asked, and not by the environment."""

import pytest
from jupyter_client.manager import start_new_kernel

from eln_kit import audience

pytestmark = pytest.mark.slow


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
