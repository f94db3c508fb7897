import re

import pandas as pd
import pytest
import tables


def test_the_tables_of_the_documents_are_those_of_the_evidence():
    assert [path.name for path in tables.DOCUMENTS if tables.written(path.read_text()) != path.read_text()] == []


def test_a_changed_figure_makes_a_document_stale(monkeypatch):
    monkeypatch.setitem(tables.TABLES, "three", lambda: "| 2 |\n")
    assert tables.written("<!-- table three -->\n| 1 |\n<!-- end -->") == "<!-- table three -->\n| 2 |\n<!-- end -->"


def test_a_gain_is_paired_and_has_an_interval_from_five_pairs_on():
    assert tables.gain(pd.Series([1.0, 3.0, None])) == "+2.0 (least +1.0, n=2)"
    assert tables.gain(pd.Series([2.0, 2.0, 2.0, 2.0, 4.0])).startswith("+2.4 (+2.0 to +3.")
    assert tables.gain(pd.Series([None])) == ""


@pytest.mark.parametrize("document", ["README.md", "docs/limits.md"])
def test_each_measured_figure_that_is_told_stands_in_the_evidence(document):
    known = set(re.findall(r"\d+\.\d+", (tables.ROOT / "docs/evidence.md").read_text()))
    told = tables.BLOCK.sub("", (tables.ROOT / document).read_text())
    told = told.split("## Does it help?")[-1].split("## The notebooks")[0] if document == "README.md" else told
    told = re.sub(r"[\w.]+=\S+|--\w+ \S+|`[^`]*`", "", told)  # knobs and code
    assert sorted(set(re.findall(r"\d+\.\d+", told)) - known) == []
