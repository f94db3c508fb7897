import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import eln_kit
from eln_kit import cli
from eln_kit.batch import export
from eln_kit.batch.export import Graph
from eln_kit.faults import Fault
from eln_kit.models import Networks
from eln_kit.models.backbone import nearest_multiple
from eln_kit.models.features import upsample
from eln_kit.store.experiment import reopen
from eln_kit.store.params_file import build, load

onnxruntime = pytest.importorskip("onnxruntime")
SIZES = [(1, 64, 80), (3, 97, 131), (1, 33, 240)]
UNTRAINED = {"model.encoder_weights": "none", "model.eln_weights": "none", "model.decoder_channels": 8}
TINY = UNTRAINED | {"model.encoder": "test_resnet", "model.eln_encoder": "test_resnet"}
ON_FEATURES = {"model.eln_form": "features"}  # without a second encoder, whose export takes as long
NETWORKS = {
    "further views": TINY | {"model.eln_scales": [0.75]},
    "lite0": UNTRAINED | ON_FEATURES | {"model.encoder": "tf_efficientnet_lite0", "model.decoder": "segformer"},
    "official ResNet-50": {f"model.{k}": v for k, v in load("voc_20_res50").model.model_dump().items()} | UNTRAINED,
    "ViT": UNTRAINED | ON_FEATURES | {"model.encoder": "vit_tiny_patch16_224"},
}


def networks(knobs):
    made = Networks(build({}, knobs), 5).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


def smooth(size):
    coarse = torch.rand(size[0], 3, 5, 7, generator=torch.Generator().manual_seed(1))
    return (upsample(coarse, size[1:]) * 255).byte()


@torch.no_grad()
def as_the_kit_has_it(made, image):
    seen = image.float() / 255
    logits = made.student.predict(seen)
    return logits, made.eln.judge_prediction(made.student, seen, logits)[:, 0].sigmoid()


def assert_as_the_kit_has_it(ask, made, size):
    """Logits and trust of an image are those that the kit gives."""
    image = smooth(size)
    logits, trust = as_the_kit_has_it(made, image)
    found_logits, found_trust = ask(image)
    alike = found_logits.argmax(1) == logits.argmax(1)  # ELN judges what is predicted
    assert alike.float().mean() > 0.999
    assert (found_logits - logits).abs().max() < 1e-4
    assert (found_trust - trust)[alike].abs().max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_graph_that_is_exported_says_what_the_kit_says_at_any_size(name):
    made = networks(NETWORKS[name])
    for size in SIZES:
        assert_as_the_kit_has_it(Graph(made.student, made.eln), made, size)


def assert_onnxruntime_agrees(content, made):
    session = onnxruntime.InferenceSession(content)
    for size in SIZES:
        assert_as_the_kit_has_it(
            lambda image: map(torch.from_numpy, session.run(None, {"image": image.numpy()})), made, size
        )


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_and_torch_say_what_the_kit_says_of_every_kind_of_network(name):
    made = networks(NETWORKS[name])
    with torch.no_grad():
        program = export.traced(Graph(made.student, made.eln))
    for size in SIZES:
        assert_as_the_kit_has_it(program.module(), made, size)
    assert_onnxruntime_agrees(export.onnx(program, "{}"), made)


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder of a run that was exported to ONNX."""
    folder = tmp_path_factory.mktemp("exported")
    export.export(trained, "onnx", folder)
    return folder


@pytest.mark.slow
def test_onnxruntime_says_what_the_kit_says_and_what_says_something_else_is_refused(trained, exported):
    content, made = (exported / "model.onnx").read_bytes(), reopen(trained).networks("2_error_localization").eval()
    assert_onnxruntime_agrees(content, made)
    with torch.no_grad():
        made.student.classify[-1].bias += 1e-2
    with pytest.raises(Fault, match=r"onnxruntime's logits or trust are .* off"):
        export.check(content, Graph(made.student, made.eln))


def test_whole_numbers_round_as_round_does():
    for multiple in (1, 2, 14, 32):
        assert all(nearest_multiple(n, multiple) == max(round(n / multiple), 1) * multiple for n in range(1, 300))


@pytest.mark.slow
def test_an_exported_file_is_loaded_as_a_run_is(trained, tmp_path, capsys):
    assert cli.main(["export", str(trained), "--to", "torch", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(tmp_path / "model.pt2")
    assert "tracing the networks" in printed[0], "it says what takes so long"
    assert "measuring 3 validation images" in printed[1]
    labels = ["--images", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.main(["predict", str(tmp_path / "model.pt2"), *labels]) == 2
    assert capsys.readouterr().err == "an exported file cannot rank images; give the run folder instead\n"
    run, file = eln_kit.load(trained), eln_kit.load(tmp_path / "model.pt2")
    assert file.classes == run.classes
    assert (file.colors == run.colors).all()
    image = smooth((1, 33, 50))[0]
    for a, b in zip(run([image, image[:, :20]]), file([image, image[:, :20]]), strict=True):
        assert np.abs(a.trust - b.trust).max() < 1e-5
        assert (a.mask == b.mask).mean() > 0.99


@pytest.mark.slow
def test_a_model_card_tells_the_measures_and_its_example_runs(trained, exported, monkeypatch):
    card = (exported / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["license"] == "unknown"
    assert "On 3 validation images: mIoU" in card
    assert "| ELN | 0." in card
    assert json.loads((exported / "model.json").read_text())["classes"] == eln_kit.load(trained).classes
    code = card.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(exported)
    Image.fromarray(smooth((1, 30, 41))[0].permute(1, 2, 0).numpy()).save("photo.jpg")
    exec(code, {})
    assert Image.open("mask.png").size == (41, 30)


def test_what_cannot_be_exported_is_one_line(trained, tmp_path, monkeypatch):
    def fail(graph):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(export, "traced", fail)
    with pytest.raises(Fault, match=r"cannot be exported to onnx \(no such operator\); try the other format"):
        export.export(trained, "onnx", tmp_path)
