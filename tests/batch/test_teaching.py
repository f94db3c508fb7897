"""What each notebook of the course has: goal, time, needs and what to expect; a prediction; questions with answers."""

import ast
import inspect
import json
import re

import pytest

from eln_kit.evaluation import segmentation
from eln_kit.method import losses, stages
from eln_kit.paths import project_root

PLACE = project_root() / "notebooks"
FILES = [*sorted(PLACE.glob("[0-6]_*.ipynb")), PLACE / "toy_method.ipynb"]
KNOWN = {"losses": losses, "segmentation": segmentation} | vars(stages)


def cells(file, kind):
    return ["".join(cell["source"]) for cell in json.loads(file.read_text())["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_says_what_for_asks_for_a_prediction_and_ends_with_five_questions_and_folded_answers(file):
    first, *_, last = cells(file, "markdown")
    assert re.findall(r"^- \*\*(\w+)\*\*: \S", first, re.MULTILINE) == ["Goal", "Time", "Needs", "Expect"]
    every = ["".join(cell["source"]) for cell in json.loads(file.read_text())["cells"]]
    (asked,) = [place for place, text in enumerate(every) if "**Predict first**" in text]
    answered = [place for place, text in enumerate(every) if re.search(r"[Tt]he answer\b", text)]
    assert min(answered) > asked + 1, "a cell to run stands between"
    assert re.findall(r"<details><summary>(\d)\.", last) == list("12345")
    answers = re.findall(r"</summary>\n\n(.+?)\n</details>\n", last + "\n", re.DOTALL)
    assert len(answers) == 5
    assert all(len(answer) > 40 for answer in answers)


def test_the_source_that_is_shown_has_at_most_thirty_lines():
    calls = [call for file in FILES for cell in cells(file, "code") for call in ast.walk(ast.parse(cell))]
    calls = [call for call in calls if isinstance(call, ast.Call) and ast.unparse(call.func) == "notebook.source"]
    shown = {ast.unparse(call.args[0]) for call in calls}
    lines = {name: len(inspect.getsource(eval(name, KNOWN)).splitlines()) for name in shown}
    assert len(lines) >= 8
    assert not {name: count for name, count in lines.items() if count > 30}


def test_a_loss_that_a_run_switches_off_is_not_shown():
    (cell,) = (cell for file in FILES for cell in cells(file, "code") if "losses.contrastive_loss" in cell)
    assert cell.startswith("if experiment.params.semi_supervised.contrast_weight:")
