"""The page of a run, from files in any state."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from eln_kit.batch import index, live, state
from eln_kit.batch.templating import without_home
from eln_kit.data.classes import in_palette
from eln_kit.params import Params

PARAMS = Params().model_copy(update={"run": Params().run.model_copy(update={"control": False})})
STAGES = ["1_supervised", "2_error_localization", "3_semi_supervised"]


def log(folder, stage, *lines):
    (folder / stage).mkdir(exist_ok=True)
    (folder / stage / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def record(step, speed=16.0, main=1.0):
    return json.dumps({"step": step, "images_per_s": speed, "lr": 0.1, "main": main})


@pytest.fixture
def run(tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS.model_dump()))
    return tmp_path


def test_time_left_is_each_stages_own_speed_and_before_it_has_one_that_of_the_last(run):
    assert live.seconds_left(live.trainings(run, PARAMS, {})) is None
    log(run, "1_supervised", record(100), record(200))
    log(run, "2_error_localization", record(50, speed=4.0))
    trainings = live.trainings(run, PARAMS, {})
    assert [stage.name for stage in trainings] == STAGES
    assert [stage.seconds for stage in trainings] == [0.5, 2.0, None]  # 8 images a step
    first, second, third = (stage.steps for stage in trainings)
    expected = (first - 200) * 0.5 + (second - 50) * 2 + third * 2 / live.COST[STAGES[1]] * live.COST[STAGES[2]]
    assert live.seconds_left(trainings) == pytest.approx(expected)


def test_curves_begin_at_zero_and_shares_end_at_one_so_that_noise_fills_no_plot(run):
    lines = [{"step": step, "main": main, "kept_share": 0.6} for step, main in ((10, 4.0), (30, 1.0))]
    log(run, "1_supervised", *map(json.dumps, lines))
    main, kept = live.trainings(run, PARAMS, {})[0].curves
    assert (main.name, main.points, main.top, main.last) == ("main decoder, on labels", "0.0,0.0 200.0,45.0", 4.0, 1.0)
    assert (kept.name, kept.points) == ("pixels kept", "0.0,24.0 200.0,24.0")


def test_a_line_of_a_log_that_is_half_written_is_left_out(run):
    (run / "1_supervised").mkdir()
    (run / "1_supervised/metrics.jsonl").write_text(record(10) + "\n" + record(20)[:-9])
    assert [each["step"] for each in live.read_log(run / "1_supervised/metrics.jsonl")] == [10]
    assert live.read_log(run / "none") == []


def test_a_stage_that_its_finished_notebook_left_out_is_not_waited_for(run):
    finished = {"1_supervised": {"state": "finished"}}
    assert [stage.name for stage in live.trainings(run, PARAMS, finished)] == STAGES[1:]


def test_a_page_is_written_from_an_empty_folder_and_from_broken_files(run, tmp_path):
    assert index.write_index(run, running=True).is_file()
    for name in ("4_evaluate/results.json", "split.json", "1_supervised/metrics.jsonl", "params.yaml"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text('{"a": ')
    assert index.write_index(run, running=True).is_file()


def test_a_page_that_is_renewed_links_its_pictures_and_the_last_one_holds_them(run):
    log(run, "1_supervised", record(10), record(20))
    (run / "1_supervised/seen").mkdir()
    Image.new("RGB", (4, 4)).save(run / "1_supervised/seen/20.png")
    assert 'src="1_supervised/seen/20.png"' in index.write_index(run, running=True).read_text()
    page = index.write_index(run).read_text()
    assert "seen/20.png" not in page
    assert 'src="data:image/png;base64,' in page


def test_the_headline_has_the_interval_where_there_is_one_and_the_best_and_worst_class(tmp_path):
    row = {"stage": "3_semi_supervised", "network": "teacher", "miou": 0.55, "iou": [0.9, 0.0, None]}
    row["name"] = "stage 3, teacher"
    control = {"name": "control", "stage": "control", "network": "student", "miou": 0.6}
    found = {"classes": ["sky", "pole", "absent"], "segmentation": [row, control]}
    (tmp_path / "split.json").write_text(json.dumps({"labeled": ["a"], "unlabeled": ["b", "c"]}))
    took = {"0_data": {"seconds": 70}, "1_supervised": {"seconds": 5}}
    assert index.headline(found, tmp_path, took) == [
        ("mIoU", "55.0 %", "stage 3, teacher"),
        ("labels", "1", "of 3 training images"),
        ("best class", "sky", "IoU 90.0 %"),
        ("worst class", "pole", "IoU 0.0 %"),
        ("time", "1 min 15 s", "all notebooks"),
    ]
    row |= {"low": 0.5, "high": 0.6, "images": 30, "units": 30}
    assert index.headline(found, tmp_path, {})[0][2] == "50.0 to 60.0 (95 %), 30 validation images, stage 3, teacher"
    row |= {"units": 5}
    assert index.headline(found, tmp_path, {})[0][2] == (
        "30 validation images, too few for an interval, stage 3, teacher"
    )
    assert index.headline({}, tmp_path, took) == []


def test_pages_name_no_folder_of_this_machine(run, monkeypatch, tmp_path):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    (home / "kit/params").mkdir(parents=True)
    (home / "kit/notebooks").mkdir()
    monkeypatch.chdir(home / "kit")
    assert without_home(f"{home}/kit/runs/shapes and {home}/.venv/x.py") == "runs/shapes and ~/.venv/x.py"
    root = {"data": {"root": f"{home}/photos"}}
    (run / "params.yaml").write_text(yaml.safe_dump(PARAMS.model_dump() | root))
    state.write_state(run, {"0_data": {"state": "failed", "error": f"{home}/kit/runs/x: broken"}})
    page = index.write_index(run).read_text()
    assert str(home) not in page
    assert "~/photos" in page
    assert ">runs/x: broken<" in page


def test_the_trust_pictures_have_a_legend_in_the_classes_colours(run):
    folder = run / index.TRUST / "01"
    folder.mkdir(parents=True)
    in_palette(np.zeros((4, 4)), np.array([[1, 2, 3], [255, 0, 16]])).save(folder / "prediction.png")
    for name in ("input", "eln_map"):
        Image.new("RGB" if name == "input" else "L", (4, 4)).save(folder / f"{name}.png")
    (run / "4_evaluate/results.json").write_text(json.dumps({"classes": ["sky", "pole"]}))
    page = index.write_index(run).read_text()
    assert "background: #010203" in page
    assert "background: #ff0010" in page
    assert 'id="truth"' not in page, "nobody knows it"
