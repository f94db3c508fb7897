import shutil
from pathlib import Path

import pytest

from eln_kit.faults import ParamsError
from eln_kit.store import checkpoint
from eln_kit.store.branch import branched, open_branch
from eln_kit.store.experiment import load_params
from eln_kit.store.params_file import build, save


@pytest.fixture
def source(trained, tmp_path):
    """A copy of a run with stages 1 and 2, and its params."""
    folder = tmp_path / "source"
    shutil.copytree(trained, folder)
    params = load_params(folder)
    save(params, folder / "params.yaml")
    return params


def branch(source, **knobs):
    wanted = {name.replace("__", "."): value for name, value in knobs.items()}
    return branched(build(source.model_dump(), wanted | {"run.start_from": source.run.folder}))


def test_a_branch_lies_beside_its_source_and_is_named_after_what_changed(source):
    params = branch(source, semi_supervised__threshold=0.9, semi_supervised__filter="confidence")
    assert params.run.folder == f"{source.run.folder}_filter=confidence_threshold=0.9"


def test_knobs_of_one_name_in_two_sections_make_two_branches(source):
    sections = ("semi_supervised", "error_localization")
    folders = {branch(source, **{f"{section}__steps": 9}).run.folder for section in sections}
    assert folders == {f"{source.run.folder}_{section}.steps=9" for section in sections}


def test_a_branch_that_changes_nothing_is_refused(source):
    with pytest.raises(ParamsError, match="no knob differs"):
        branch(source)


def test_a_branch_takes_over_the_stages_that_its_knobs_do_not_touch(source):
    later = open_branch(branch(source, semi_supervised__threshold=0.9))
    assert [path.parent.name for path in checkpoint.stages(later.folder)] == ["1_supervised", "2_error_localization"]
    assert later.records("1_supervised")
    earlier = open_branch(branch(source, error_localization__ratios=[20, 50]))
    assert [path.parent.name for path in checkpoint.stages(earlier.folder)] == ["1_supervised"]


def test_two_branches_and_their_source_hold_one_stage_1(source):
    folders = [open_branch(branch(source, semi_supervised__threshold=share)).folder for share in (0.8, 0.9)]
    files = [folder / "1_supervised" / checkpoint.FILE for folder in folders]
    assert files[0].samefile(files[1])


def test_a_changed_knob_of_stage_1_is_one_line_and_nothing_is_written(source):
    before = set(Path(source.run.folder).parent.iterdir())
    with pytest.raises(ParamsError, match=r"start_from: .*supervised\.steps was 4 and is 5; leave run\.start_from out"):
        branch(source, supervised__steps=5)
    assert set(Path(source.run.folder).parent.iterdir()) == before


def test_a_branch_that_has_begun_needs_its_source_no_more(source):
    params = branch(source, semi_supervised__threshold=0.9)
    folder = open_branch(params).folder
    save(params, folder / "params.yaml")
    shutil.rmtree(source.run.folder)
    assert branched(params) == params
    assert checkpoint.stages(open_branch(params).folder) == checkpoint.stages(folder)


def test_taking_over_that_was_stopped_midway_goes_on(source):
    params = branch(source, semi_supervised__threshold=0.9)
    first = Path(source.run.folder) / "1_supervised"
    shutil.copy(first / checkpoint.FILE, first / checkpoint.BEST)
    folder = open_branch(params).folder
    whole = checkpoint.stages(folder)
    for stage in ("1_supervised", "2_error_localization"):
        (folder / stage / checkpoint.FILE).unlink()
    assert checkpoint.stages(open_branch(params).folder) == whole


def test_a_source_that_is_no_run_is_one_line(source, tmp_path):
    elsewhere = build(source.model_dump(), {"run.start_from": str(tmp_path / "nope")})
    with pytest.raises(ParamsError, match="nope: no run is there"):
        branched(elsewhere)
