import json
import shutil

import pandas
import pytest
import yaml
from executed import execute
from finished import copied

from eln_kit import cli
from eln_kit.batch import compare, report, sweep
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
    assert "ensemble" in json.loads((folder / "eln" / "1" / report.DETECTORS).read_text())["detectors"]
    assert BOUND in json.loads((folder / "eln" / "1" / report.DETECTORS).read_text())["detectors"]
    assert f"after stage 2, {BOUND}" in (folder / "eln" / "0" / "4_evaluate" / "results.json").read_text()
    assert not (folder / "no_filter" / "1" / report.DETECTORS).exists()
    assert cli.main(["sweep", str(file)]) == 0
    assert "step" not in capsys.readouterr().out

    out, other = tmp_path / "compared", finished(tmp_path / "sweep/other", 5, 12)
    said = execute("5_compare", tmp_path / "5.ipynb", runs=str(folder), out=str(out))
    assert "left out, shapes, 5 labels, 12 steps:\\n" in said
    assert f"  {other}\\n" in said
    assert said.count("image/png") == len(list(out.glob("*.png"))) == 4
    assert said.count("background-color") >= 3 * 2, "of classes twice and of distances"
    assert '"name": "stderr"' not in said

    methods = pandas.read_csv(out / "methods.csv", header=[0, 1], index_col=[0, 1, 2])
    assert methods.seeds.squeeze().to_dict() == {
        (name, network, 12): 2 for name in ("eln", "no_filter", "supervised only") for network in ("student", "teacher")
    }
    one = pandas.read_csv(out / "segmentation.csv").query("method == 'eln' and network == 'teacher'").miou
    expected = pytest.approx([100 * one.mean(), 100 * one.std()], abs=0.051)
    assert methods.miou.loc["eln", "teacher", 12].tolist() == expected
    kept, detection = (pandas.read_csv(out / f"{name}.csv") for name in ("pseudo_labels", "detection"))
    assert {*kept.method} == {"eln", "no_filter"}
    measured = json.loads((folder / "eln/1" / report.DETECTORS).read_text())["detectors"]["ELN"]
    (aupr,) = detection.query("seed == 1 and detector == 'ELN'")["pooled.aupr"]
    assert aupr == pytest.approx(measured["pooled"]["aupr"])


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
        files = place / "4_evaluate/results.json", place / report.DETECTORS
        results.append([(file.read_text(), file.stat().st_mtime_ns) for file in files])
    assert results[0][0][0] != results[1][0][0]
    assert results[0][1][0] != results[1][1][0]
    assert results[1] == results[2], "and not a third time"
    assert "  step " not in capsys.readouterr().out


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


def finished(folder, labels, steps, root=""):
    """A run folder by the files that are compared; a network before new labels had more steps."""
    (folder / "4_evaluate").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump({"data": {"name": "shapes", "root": root}, "run": {"seed": 0}}))
    (folder / "split.json").write_text(json.dumps({"labeled": ["a"] * labels}))
    one = {"name": "", "network": "student", "miou": 0.5, "pixel_accuracy": 0.5, "iou": [0.5]}
    rows = [one | {"stage": "3_semi_supervised", "steps": steps}, one | {"stage": "before", "steps": 900, "miou": 0.9}]
    (folder / report.RESULTS).write_text(json.dumps({"classes": ["a"], "segmentation": rows}))
    return folder


def test_runs_that_differ_in_data_labels_or_steps_have_another_setting_and_one_named_twice_counts_once(tmp_path):
    one = finished(tmp_path / "a" / "0", 4, 12)
    for name, *differs in (("b", 5, 12), ("c", 4, 20), ("d", 4, 12, "x/nuclei")):
        finished(tmp_path / name, *differs)
    found = compare.runs([str(tmp_path), str(one)])
    assert found.method.tolist() == ["a", "b", "c", "d"]
    assert found.setting.tolist() == [
        "shapes, 4 labels, 12 steps",
        "shapes, 5 labels, 12 steps",
        "shapes, 4 labels, 20 steps",
        "nuclei, 4 labels, 12 steps",
    ]


def test_the_network_before_new_labels_counts_neither_as_the_run_nor_as_its_steps(tmp_path):
    finished(tmp_path / "run", 1, 4)
    found = compare.runs([str(tmp_path)])
    assert found.setting.tolist() == ["shapes, 1 labels, 4 steps"]
    assert compare.segmentation(found).miou.tolist() == [0.5]
