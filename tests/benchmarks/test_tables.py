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


@pytest.mark.parametrize("document", ["README.md", "docs/limits.md", "docs/evidence.md"])
def test_each_measured_figure_that_is_told_stands_in_the_pages_behind(document):
    pages = [
        *(tables.ROOT / "docs").glob("evidence_*.md"),
        *([tables.ROOT / "docs/evidence.md"] * (document != "docs/evidence.md")),
    ]
    known = set(re.findall(r"\d+\.\d+", " ".join(page.read_text() for page in pages)))
    told = tables.BLOCK.sub("", (tables.ROOT / document).read_text())
    starts = {"README.md": 0, "docs/limits.md": 0, "docs/evidence.md": told.find("## Does ELN find more")}
    told = told[starts[document] :].split("## The notebooks")[0]
    told = re.sub(r"```.*?```|[\w.]+=\S+|--\w+ \S+|`[^`]*`", "", told, flags=re.DOTALL)  # knobs and code
    assert sorted(set(re.findall(r"\d+\.\d+", told)) - known - {"3.11", "6.5"}) == []


def test_a_method_that_no_table_knows_is_named(monkeypatch):
    rows = pd.DataFrame({"labels": [3], "draw": ["a"], "seed": [0], "method": ["new"], "teacher": [50.0]})
    monkeypatch.setattr(tables, "evidence", lambda name: rows)
    with pytest.raises(SystemExit, match=r"few\.csv has methods that METHODS lacks: new"):
        tables.runs("few", 3)


def test_stage_3_stands_beside_labels_alone_of_the_same_draws(monkeypatch):
    methods = [tables.ALONE, tables.RECIPE, tables.ALONE]
    rows = {"labels": 3, "draw": ["a", "a", "b"], "seed": 0, "method": methods, "teacher": [50.0, 54.0, 90.0]}
    monkeypatch.setattr(tables, "evidence", lambda name: pd.DataFrame(rows))
    lines = tables.one_setting("few", 3).splitlines()
    assert lines[2] == "| labels alone | 50.0 | 50.0 |  |"
    assert lines[3].endswith("| 54.0 | 54.0 | +4.0 (least +4.0, n=1) |")


def test_choosing_stands_beside_random_draws_and_95_percent_is_reached_by_the_first_count_that_does(monkeypatch):
    rows = [
        (3, "random", 0, 60.0),
        (3, "random", 1, 80.0),
        (3, "choose", 0, 70.0),
        (6, "random", 0, 96.0),
        (9, "all", 0, 100.0),
    ]
    table = pd.DataFrame(rows, columns=["labels", "way", "draw", "student"]).assign(seed=0)
    monkeypatch.setattr(tables, "evidence", lambda name: table)
    assert tables.ways("a").splitlines()[2] == "| a | 3 | 70.0 ± 14.1 | 70.0 | 80.0 | 70.0 |  |  | 1 of 2 |"
    assert tables.labels_for(0.95, "a").splitlines()[2] == "| a | 100.0 (9 labels) | 95.0 | 6 (66.7%) | over 3 |  |  |"
