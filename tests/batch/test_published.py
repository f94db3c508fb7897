"""The params files of the published experiments, on small trees in the official layouts."""

from pathlib import Path

import pytest
from trees import SIZE, cityscapes_tree, voc_tree

from eln_kit import cli
from eln_kit.method.stages import STAGES
from eln_kit.outcome import results
from eln_kit.paths import project_root
from eln_kit.store import params_file
from eln_kit.store.experiment import open_experiment
from eln_kit.training import trial
from eln_kit.training.fit import fit

pytestmark = pytest.mark.slow

FILES = sorted((project_root() / "params").glob("*_res*.yaml"))
SMALL = {
    "views.crop": [65, 65],
    "data.batch_labeled": 2,
    "data.batch_unlabeled": 2,
    "data.workers": 0,
    "model.encoder": "resnet34",  # of three blocks in its last stage, too
    "model.encoder_weights": "none",
    "model.eln_weights": "none",
    "model.decoder_channels": 16,
    "supervised.steps": 1,
    "error_localization.steps": 1,
    "semi_supervised.steps": 1,
}


@pytest.fixture
def small(tmp_path):
    """The params of a published file, made small, on a tree with the official lists 2_labeled_0.txt and so on."""

    def make(file: Path, knobs=()):
        if file.name.startswith("voc"):
            ids = [f"2007_{n:06}" for n in range(8)]
            lists = voc_tree(tmp_path, ids[:4], ids[6:], augmented=ids[:6]) / "ImageSets" / "Segmentation"
            root, (labeled, unlabeled) = tmp_path, (ids[:3], ids[3:6])
        else:
            ids = [f"aachen_{n:06}_000019" for n in range(8)]
            root = cityscapes_tree(tmp_path, {"train": ids[:6], "val": ids[6:]})
            lists = root / "data_lists"
            lists.mkdir()
            labeled, unlabeled = ([f"aachen/{id}" for id in part] for part in (ids[:3], ids[3:6]))
        (lists / "2_labeled_0.txt").write_text("\n".join(labeled))
        (lists / "2_unlabeled_0.txt").write_text("\n".join(unlabeled))
        places = {"data.root": str(root), "data.labels": "1/2", "run.folder": str(tmp_path / "run")}
        return params_file.load(file, SMALL | places | dict(knobs))

    return make


def test_there_is_a_file_and_a_modern_one_for_each_published_command():
    names = ("city_2_res50", "voc_20_res101", "voc_20_res50")
    assert [file.stem for file in FILES] == sorted([*names, *(f"{name}_modern" for name in names)])


BY_DAY = ("city_2_res50", "voc_20_res50_modern")  # each data set, each kind of networks


@pytest.mark.parametrize(
    "file", [pytest.param(f, marks=[] if f.stem in BY_DAY else pytest.mark.nightly, id=f.stem) for f in FILES]
)
def test_a_published_experiment_trains_every_stage_and_is_evaluated(small, file):
    params = small(file)
    experiment = open_experiment(params)
    assert experiment.split.source == "official lists 2_labeled_0.txt, 2_unlabeled_0.txt"
    assert len(experiment.split.labeled) == len(experiment.split.unlabeled) == 3
    for name in ("1_supervised", "2_error_localization", "3_semi_supervised"):
        kind = STAGES[name]
        fit(kind(experiment.networks(kind.after), params), experiment)
    found = results.evaluate(experiment)
    assert [row["steps"] for row in found["segmentation"]] == [1, 3, 3]
    pixels = sum(map(sum, found["segmentation"][0]["confusion"]))
    height, width = params.evaluation.size or SIZE
    assert pixels == pytest.approx(2 * height * width, rel=0.15)  # some are void


@pytest.mark.parametrize("file", [f for f in FILES if f.stem not in BY_DAY], ids=lambda file: file.stem)
def test_a_published_experiment_has_a_step_of_stage_3_at_full_size_without_computing(file):
    params = params_file.load(file)
    classes = 21 if "voc" in file.stem else 19
    assert trial.memory_of(STAGES["3_semi_supervised"](trial.blank(params, classes), params), 1, "fp32") > 10e9


@pytest.mark.parametrize("file", [f for f in FILES if "modern" not in f.stem], ids=lambda file: file.stem)
def test_published_files_have_the_official_networks_and_settings(file):
    params = params_file.load(file)
    model = params.model.model_dump()
    assert (model["eln_form"], model["atrous_rates"]) == ("published", [6, 12, 18])
    assert (model["dilations"], model["eln_dilations"]) == ([2, 4, 8], [1, 1, 1])
    assert (params.optimizer.lr, params.optimizer.encoder_lr_factor, params.optimizer.weight_decay) == (1e-4, 0.1, 1e-5)
    assert params.error_localization.ratios == [20, 50]
    steps = [STAGES[name].length(params) for name in ("1_supervised", "2_error_localization", "3_semi_supervised")]
    assert sum(steps) == 500 * 266
    assert steps[:2] == ([26600, 15428] if "city" in file.stem else [18620, 13300])


def test_without_data_a_published_experiment_says_how_to_get_it(capsys):
    for file in FILES:
        assert cli.main(["run", str(file), "--dry-run"]) == 1
        assert capsys.readouterr().err.count("\n") == 1
