"""The toy notebook: its cells run, and each assert fails where the student's line is wrong."""

import contextlib
import io
import json
import re

import pytest
from executed import execute

from eln_kit.paths import project_root

FILE = project_root() / "notebooks/toy_method.ipynb"
CELLS = ["".join(c["source"]) for c in json.loads(FILE.read_text())["cells"] if c["cell_type"] == "code"]
WRONG = [  # the student's line -> a wrong one, and what the assert says
    ("known = mask != VOID", "known = torch.ones_like(mask)", "cross-entropy"),
    ("known = mask != VOID", "known = mask >= 0", "cross-entropy"),
    ("-(of_truth * known).sum() / known.sum().clamp(min=1)", "-(of_truth * known).mean()", "cross-entropy"),
    ("-(of_truth * known).sum() / known.sum().clamp(min=1)", "(of_truth * known).sum() / known.sum()", "cross-entropy"),
    ("-(of_truth * known).sum() / known.sum().clamp(min=1)", "-(of_truth * known).sum() / known.sum()", "not NaN"),
    ("learns = loss > ratio * main_loss", "learns = loss < ratio * main_loss", "the gate"),
    ("learns = loss > ratio * main_loss", "learns = loss > main_loss", "the gate"),
    ("learns = loss > ratio * main_loss", "learns = True", "the gate"),
    ("learns = loss > ratio * main_loss", "learns = ratio * loss > main_loss", "the gate"),
    ("right = logits.argmax(dim=1) == mask", "right = logits.argmax(dim=1) != mask", "the target"),
    ("right.to(torch.uint8).masked_fill(mask == VOID, VOID)", "right.to(torch.uint8)", "the target"),
    ("(right.sum() / wrong.sum().clamp(min=1e-6))", "(wrong.sum() / right.sum().clamp(min=1e-6))", "ELN's loss"),
    (".clamp(1 / most, most)", "", "ELN's loss"),
    ("right * q.log() + weight * wrong", "right * q.log() + wrong", "ELN's loss"),
    ("right * q.log() + weight * wrong", "weight * right * q.log() + wrong", "ELN's loss"),
    ("-terms.sum() / (right | wrong).sum()", "-terms.mean()", "ELN's loss"),
    ("-terms.sum() / (right | wrong).sum()", "-terms.sum() / wrong.sum()", "ELN's loss"),
    ("keep = (trust >= threshold) & valid", "keep = trust >= threshold", "the pseudo-label"),
    ("keep = (trust >= threshold) & valid", "keep = (trust < threshold) & valid", "the pseudo-label"),
    ("logits.argmax(dim=1).where(keep, VOID)", "logits.argmax(dim=1).where(keep, 0)", "the pseudo-label"),
]


def run(cells, pictures=False) -> dict:
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in cells:
            exec(cell, names)
            if "show" in names and not pictures:
                names["show"] = lambda **_: None
    return names


def test_the_toy_runs_without_data_and_without_weights():
    assert run(CELLS, pictures=True)["target"].shape == (1, 6, 6)


@pytest.mark.parametrize(("right", "wrong", "words"), WRONG)
def test_a_wrong_line_fails_its_assert(right, wrong, words):
    assert sum(cell.count(right) for cell in CELLS) == 1
    changed = next(index for index, cell in enumerate(CELLS) if right in cell)
    lines = CELLS[changed].splitlines()
    assert any(right in line and line.endswith("# yours") for line in lines), "the student writes this line"
    with pytest.raises(AssertionError, match=words):
        run([*CELLS[:changed], CELLS[changed].replace(right, wrong)])


def test_every_line_of_the_student_is_tried():
    students = [line for cell in CELLS for line in cell.splitlines() if line.endswith("# yours")]
    assert students
    assert [line for line in students if not any(right in line for right, _, _ in WRONG)] == []


def test_every_student_cell_has_its_assert():
    assert all("assert" in cell for cell in CELLS if "# yours" in cell)


@pytest.mark.slow
def test_the_toy_runs_by_papermill_with_other_ratios(tmp_path):
    text = execute("toy_method", tmp_path / "toy.ipynb", ratios=[1.0, 50.0])
    assert text.count('"image/png"') == 6
    assert re.search(r"ratio 1: learns", text)
    assert re.search(r"ratio 50: rests", text)
