"""The official code's checkpoints: the same networks, a run that goes on, and what is refused."""

import pickle

import import_official as official
import pytest
import torch
import yaml
from official_networks import checkpoint as official_checkpoint
from official_networks import predict
from trees import voc_tree

from eln_kit.faults import CheckpointError
from eln_kit.method.stages import ErrorLocalization, SemiSupervised, Supervised
from eln_kit.models import Networks
from eln_kit.store import checkpoint, params_file
from eln_kit.store.branch import branched, open_branch
from eln_kit.store.checkpoint import check_stages
from eln_kit.store.experiment import load_params, open_experiment
from eln_kit.training.fit import fit

pytestmark = pytest.mark.slow

MODEL = {
    "encoder": "resnet50.tv_in1k",
    "encoder_weights": "imagenet",  # which an import must not ask for
    "eln_encoder": "resnet34.tv_in1k",
    "eln_weights": "imagenet",
    "eln_form": "published",
    "decoder_channels": 16,
    "embedding_channels": 8,
    "atrous_rates": [6, 12, 18],
    "dilations": [2, 4, 8],
    "eln_dilations": [1, 1, 1],
}
THIN = {
    "data": {"name": "voc", "labels": 2, "batch_labeled": 2, "batch_unlabeled": 2},
    "views": {"crop": [32, 32]},
    "model": MODEL,
    "supervised": {"steps": 7},
    "error_localization": {"ratios": [20, 50], "steps": 5},
    "semi_supervised": {"steps": 1},
    "run": {"precision": "fp32"},
}
IMAGE = torch.rand(2, 3, 65, 81, generator=torch.Generator().manual_seed(0))
STAGE_2 = "2_error_localization"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ResNet-50 checkpoint of 21 classes, its file, and a thin params file."""
    folder = tmp_path_factory.mktemp("official")
    state = official_checkpoint(50, 21)
    torch.save(state, folder / "epoch_0120.pth")
    (folder / "thin.yaml").write_text(yaml.safe_dump(THIN))
    return state, folder / "epoch_0120.pth", folder / "thin.yaml"


@pytest.fixture(scope="module")
def imported(saved):
    """The run folder made of it by the command, before the data set is there."""
    _, file, params = saved
    run, root = file.parent / "run", f"data.root={file.parent / 'data'}"
    assert official.main([str(file), "--out", str(run), "--params", str(params), "--set", root]) == 0
    return run


def same(ours: Networks, state: dict) -> None:
    with torch.no_grad():
        prediction = ours.eval().student(IMAGE)
        found = [prediction.logits, prediction.embedding]
        found += [decoder(prediction.features) for decoder in ours.auxiliary]
        found.append(ours.eln(IMAGE, prediction.logits))
        for mine, theirs in zip(found, predict(state, IMAGE), strict=True):
            assert theirs.std() > 0.1
            assert mine.shape == theirs.shape
            assert (mine - theirs).abs().max() < 1e-4


def test_an_imported_checkpoint_computes_what_the_official_networks_do(saved, imported):
    networks = Networks(params_file.load(imported / "params.yaml"), 21)
    for stage in ("1_supervised", STAGE_2):
        state = checkpoint.load(imported / stage / checkpoint.FILE)
        checkpoint.restore(imported, networks, state["networks"])
    same(networks, saved[0])


def test_so_does_one_of_resnet_101_and_19_classes(tmp_path):
    state = official_checkpoint(101, 19)
    sections = THIN | {"model": MODEL | {"encoder": "resnet101", "encoder_weights": "none", "eln_weights": "none"}}
    networks = Networks(params_file.build(sections), 19)
    checkpoint.restore(tmp_path, networks, official.translate(tmp_path, state))
    same(networks, state)


def test_the_run_needs_no_download_and_no_data_until_it_goes_on(imported):
    params = params_file.load(imported / "params.yaml")
    assert (params.model.encoder_weights, params.model.eln_weights) == ("none", "none")
    assert params.run.folder == str(imported)
    first, second = (checkpoint.load(imported / stage / checkpoint.FILE) for stage in ("1_supervised", STAGE_2))
    assert (first["step"], first["finished"], list(first["networks"])) == (7, True, ["student"])
    assert (second["step"], second["finished"], len(second["classes"])) == (5, True, 21)


def test_stage_3_and_branches_go_on_from_an_imported_run(imported):
    voc_tree(imported.parent / "data", ["a", "b", "c", "d"], ["e"])
    changed = {"run.start_from": str(imported), "semi_supervised.threshold": 0.9}
    branch = open_branch(branched(params_file.build(load_params(imported).model_dump(), changed))).folder
    assert [path.parent.name for path in checkpoint.stages(branch)] == ["1_supervised", STAGE_2]
    experiment = open_experiment(params_file.load(imported / "params.yaml"))
    check_stages(imported, experiment.params)
    networks = experiment.networks(after=STAGE_2)
    for stage in (Supervised, ErrorLocalization):
        assert fit(stage(networks, experiment.params), experiment) == []
    before = networks.student.classify[0].weight.clone()
    (record,) = fit(SemiSupervised(networks, experiment.params), experiment)
    assert record["step"] == 1
    assert not torch.equal(before, networks.student.classify[0].weight.cpu())


def refusal(capsys, file, params, *more, out="other"):
    """The one line that the command says, and its exit status."""
    status = official.main([str(file), "--out", str(file.parent / out), "--params", str(params), *more])
    (line,) = capsys.readouterr().err.splitlines()
    return status, line.replace(str(file.parent), "").replace("/", "")


@pytest.mark.parametrize(
    ("knob", "out", "status", "message"),
    [
        ("error_localization.ratios=[20]", "other", 2, "has 2 auxiliary decoders"),
        ("data.name=cityscapes", "other", 2, "has 21 classes, and data.name is cityscapes; give params for voc (21)"),
        ("data.name=folder", "other", 2, "has 21 classes, and data.name is folder"),
        ("model.encoderr=x", "other", 2, "there is no knob model.encoderr; did you mean model.encoder?"),
        (
            "model.embedding_channels=9",
            "other",
            1,
            "its student does not fit the networks of these params: size mismatch",
        ),
        ("run.seed=0", "run", 1, "the run folder has stages already; choose another with --out"),
        ("run.seed=0", "thin.yaml/run", 2, "cannot be written (Not a directory)"),
    ],
)
def test_params_and_folders_that_do_not_fit_are_refused_with_the_mend(
    saved, imported, capsys, knob, out, status, message
):
    _, file, params = saved
    found, line = refusal(capsys, file, params, "--set", knob, out=out)
    assert found == status
    assert message in line
    assert not (file.parent / "other").exists()


def test_files_that_are_no_official_checkpoints_are_refused(saved, tmp_path, capsys):
    state, whole, params = saved
    file = tmp_path / "x.pth"

    def refused(message):
        status, line = refusal(capsys, file, params)
        assert (status, line.count(message)) == (1, 1), line

    refused("no such file")
    file.write_bytes(b"not a checkpoint")
    refused("not a whole PyTorch checkpoint; copy or download it again")
    file.write_bytes(whole.read_bytes()[: 2**20])
    refused("not a whole PyTorch checkpoint")
    torch.save({"model": pytest.param}, file)
    refused("holds more than tensors and plain values, which could run code when read, and is refused")
    file.write_bytes(pickle.dumps({"epoch": 1}))
    refused("not a whole PyTorch checkpoint")
    torch.save({"state_dict": {}}, file)
    refused("not a checkpoint of the official code: it has no enc_state_dict, dec_state_dict, dec_0, dec_1")
    torch.save({name: value for name, value in state.items() if name != "dec_1"}, file)
    refused("it has no dec_1; give a file epoch_NNNN.pth that its train.py has saved")


def test_tensors_too_many_or_too_few_are_named(saved, tmp_path):
    state, _, _ = saved
    more = state | {"eln_state_dict": state["eln_state_dict"] | {"neck.weight": torch.ones(1)}}
    with pytest.raises(CheckpointError, match=r"eln_state_dict has neck\.weight, which the official"):
        official.translate(tmp_path, more)
    states = official.translate(tmp_path, state)
    assert sum(map(len, states.values())) == sum(len(state[section]) for section in official.SECTIONS) - 2 * 4 + 3
    shallow = {name: each for name, each in state["enc_state_dict"].items() if ".layer3.5." not in name}
    with pytest.raises(CheckpointError, match="its encoder has 5 blocks in layer3"):
        official._depth(tmp_path, {"enc_state_dict": shallow})


def test_without_params_the_classes_and_the_encoder_choose_the_file(saved, tmp_path, monkeypatch, capsys):
    _, file, _ = saved
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "params" / "voc_20_res50.yaml").write_text(yaml.safe_dump(THIN))
    monkeypatch.chdir(tmp_path)
    assert official.main([str(file), "--out", "runs/official"]) == 0
    assert params_file.load("runs/official/params.yaml").run.folder == "runs/official"
    assert "eln-kit run" in capsys.readouterr().out
