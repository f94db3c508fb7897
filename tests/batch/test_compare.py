import json
import shutil

import nbformat
import pandas
import pytest
import yaml
from executed import execute
from finished import copied

from eln_kit import cli
from eln_kit.batch import compare, sweep
from eln_kit.evaluation.trust import BOUND
from eln_kit.faults import ParamsError
from eln_kit.store.params_file import save

pytestmark = pytest.mark.slow

STAGES = ("1_supervised", "2_error_localization", "3_semi_supervised")


@pytest.fixture
def sweep_file(tiny, tmp_path):
    """A sweep file of two methods and two seeds over the tiny experiment, with `changes` to the file's own entries."""

    def write(**changes):
        save(tiny(), tmp_path / "tiny.yaml")
        content = {
            "params": str(tmp_path / "tiny.yaml"),
            "folder": str(tmp_path / "sweep"),
            "seeds": [0, 1],
            "methods": {"ELN": {"run.control": True}, "No filter!": {"semi_supervised.filter": "none"}},
            "knobs": {"run.control": False, "evaluation.bound_steps": 2},
        } | changes
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "sweep.yaml"

    return write


def test_a_sweep_trains_each_stage_once_and_is_compared_in_a_notebook(sweep_file, tmp_path, capsys):
    file, folder = sweep_file(), tmp_path / "sweep"
    assert cli.main(["sweep", str(file)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("1_supervised  step 4/4") == printed.count("2_error_localization  step 4/4") == 2
    assert printed.count("3_semi_supervised  step 4/4") == 4
    assert printed.count("control  step 8/8") == 2
    assert "after stage 3, ELN" in (folder / "eln" / "0" / "4_evaluate" / "results.json").read_text()
    assert "after stage 3, ELN" not in (folder / "no_filter" / "0" / "4_evaluate" / "results.json").read_text()
    assert "ensemble" in json.loads((folder / "eln" / "1" / compare.DETECTORS).read_text())["detectors"]
    assert BOUND in json.loads((folder / "eln" / "1" / compare.DETECTORS).read_text())["detectors"]
    assert f"after stage 2, {BOUND}" in (folder / "eln" / "0" / "4_evaluate" / "results.json").read_text()
    assert not (folder / "no_filter" / "1" / compare.DETECTORS).exists()
    assert cli.main(["sweep", str(file)]) == 0
    assert "step" not in capsys.readouterr().out

    out = tmp_path / "compared"
    execute("5_compare", tmp_path / "5.ipynb", runs=str(folder), out=str(out))
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures >= {"segmentation", "classes", "kept", "detectors", "risk_coverage_eln", "detectors_distances_eln"}
    page = (out / "index.html").read_text()
    assert all(name in page for name in ("no_filter", "supervised only", "risk coverage eln"))

    assert len((out / "segmentation.csv").read_text().splitlines()) == 1 + 2 * (4 + 2)
    outputs = nbformat.read(tmp_path / "5.ipynb", 4)
    assert not any(output.get("name") == "stderr" for cell in outputs.cells for output in cell.get("outputs", []))


def begun(file, whole, *stages):
    """The runs of a sweep file, whose first has these stages already."""
    runs = sweep.load(file)
    copied(whole, runs[0], *stages)
    return runs


def test_a_finished_run_is_measured_anew_where_what_is_measured_has_changed(sweep_file, whole, tmp_path, capsys):
    one = {"seeds": [0], "methods": {"a": {}}, "knobs": {"run.control": False}}
    place = tmp_path / "sweep/a/0"
    results = []
    begun(sweep_file(**one), whole, *STAGES)
    for flip in (False, True, True):
        file = sweep_file(**one | {"knobs": {"run.control": False, "evaluation.flip": flip}})
        assert cli.main(["sweep", str(file)]) == 0
        files = place / "4_evaluate/results.json", place / compare.DETECTORS
        results.append([(file.read_text(), file.stat().st_mtime_ns) for file in files])
    assert results[0][0][0] != results[1][0][0]
    assert results[0][1][0] != results[1][1][0]
    assert results[1] == results[2], "and not a third time"
    assert "  step " not in capsys.readouterr().out


def test_where_nothing_was_measured_a_sentence_stands_for_the_table():
    table = pandas.DataFrame({"method": ["a"]})
    assert compare.or_why(table, compare.NO_DETECTORS) is table
    assert "eln-kit sweep" in compare.or_why(table[:0], compare.NO_DETECTORS).data


def test_a_control_of_another_length_is_not_taken_over(sweep_file, whole, capsys):
    longer = {"semi_supervised.steps": 6}
    knobs = {"run.control": True, "semi_supervised.unlabeled": False}
    sweep.carry_out(begun(sweep_file(seeds=[0], methods={"a": {}, "b": longer}, knobs=knobs), whole, *STAGES[:2]))
    printed = capsys.readouterr().out
    assert "1_supervised  step" not in printed, "it is taken over"
    assert "control  step 8/8" in printed
    assert "control  step 10/10" in printed


def test_a_stage_of_another_layout_or_precision_is_not_taken_over(sweep_file, whole, capsys):
    sweep.carry_out(begun(sweep_file(seeds=[0], methods={"a": {}, "b": {"run.channels_last": True}}), whole, *STAGES))
    assert capsys.readouterr().out.count("1_supervised  step 4/4") == 1


def test_a_sweep_whose_params_were_changed_is_refused(sweep_file, whole, tmp_path, capsys):
    begun(sweep_file(seeds=[0], methods={"a": {}}), whole, *STAGES)
    shutil.copytree(finished(tmp_path / "other", 4, 12) / "4_evaluate", tmp_path / "sweep/a/0/4_evaluate")
    changed = sweep_file(seeds=[0], methods={"a": {"optimizer.lr": 0.5}})
    assert cli.main(["sweep", str(changed)]) == 1
    assert "optimizer.lr was 0.001 and is 0.5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, r"seeds = \[\]: List should have at least 1 item"),
        ({"methods": {"a": {"semi_supervised.fliter": "none"}}}, "did you mean semi_supervised.filter"),
        ({"params": "params/nothing.yaml"}, "no such params file"),
        ({"methods": {"a b": {}, "A-b": {}}}, "should differ"),
        ({"seeds": [1, 1]}, "should differ"),
        ({"seed": [1]}, r"there is no seed; did you mean seeds\?"),
    ],
)
def test_a_sweep_file_that_cannot_be_used_says_why(sweep_file, changes, message):
    with pytest.raises(ParamsError, match=message):
        sweep.load(sweep_file(**changes))


def test_comparing_a_folder_without_a_finished_run_says_so(tmp_path):
    with pytest.raises(ParamsError, match="no finished run"):
        compare.runs([str(tmp_path)])


def test_a_run_that_is_named_twice_counts_once(tmp_path):
    one = finished(tmp_path / "a" / "0", 4, 12)
    assert compare.runs([str(tmp_path), str(one)]) == [one]


def test_the_spread_over_seeds_is_the_sample_deviation():
    table = pandas.DataFrame({"method": ["a", "a", "b"], "miou": [0.5, 0.52, 0.41]})
    summary = compare.over_seeds(table, ["method"], ["miou"], percent=True)
    assert summary.miou.tolist() == ["51.0 ± 1.4", "41.0"]
    assert summary.seeds.tolist() == [2, 1]
    assert compare.over_seeds(table, ["method"], ["miou"]).miou.tolist() == ["0.510 ± 0.014", "0.410"]


def finished(folder, labels, steps, root=""):
    """A run folder by the files that are compared."""
    (folder / "4_evaluate").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"data": {"name": "shapes", "root": root}}))
    (folder / "split.json").write_text(json.dumps({"labeled": ["a"] * labels}))
    (folder / "4_evaluate" / "results.json").write_text(json.dumps({"segmentation": [{"steps": 4}, {"steps": steps}]}))
    return folder


def test_only_runs_of_one_data_set_labels_and_steps_are_compared_and_the_others_named(tmp_path):
    alike = [finished(tmp_path / name, 4, 12) for name in ("a", "b")]
    others = (
        finished(tmp_path / "c", 5, 12),
        finished(tmp_path / "d", 4, 20),
        finished(tmp_path / "e", 4, 12, "x/nuclei"),
    )
    kept, left_out = compare.comparable([others[0], *alike, *others[1:]])
    assert kept == alike
    assert left_out == [
        f"shapes, 5 labels, 12 steps: {others[0]}",
        f"shapes, 4 labels, 20 steps: {others[1]}",
        f"nuclei, 4 labels, 12 steps: {others[2]}",
    ]


def test_the_network_before_new_labels_counts_neither_as_the_run_nor_as_its_steps(tiny, tmp_path):
    rows = [{"name": "stage 3, student", "stage": "3_semi_supervised", "network": "student", "steps": 4, "miou": 0.5}]
    rows.append({"name": "before these labels", "stage": "before", "network": "", "steps": 900, "miou": 0.9})
    (tmp_path / "run" / "4_evaluate").mkdir(parents=True)
    save(tiny({"run.folder": str(tmp_path / "run")}), tmp_path / "run" / "params.yaml")
    (tmp_path / "run" / "split.json").write_text('{"labeled": ["a"], "unlabeled": []}')
    results = {"classes": ["a"], "segmentation": [row | {"iou": [0.5], "pixel_accuracy": 0.5} for row in rows]}
    (tmp_path / "run" / "4_evaluate" / "results.json").write_text(json.dumps(results))
    assert compare.segmentation([tmp_path / "run"])["miou"].tolist() == [0.5]
    assert compare._setting(tmp_path / "run").endswith("1 labels, 4 steps")
