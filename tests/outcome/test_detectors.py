import math

import pytest
import torch
from finished import copied, train

from eln_kit.evaluation.trust import BOUND, error_detection
from eln_kit.models import Networks
from eln_kit.outcome import detection, detectors
from eln_kit.outcome.detectors import DETECTORS, Study
from eln_kit.store.experiment import open_experiment

pytestmark = pytest.mark.slow


def pixel(*probabilities):
    """Logits `1 C 1 1` of a pixel with these class probabilities."""
    return torch.tensor(probabilities).log().view(1, -1, 1, 1)


def test_scores_of_one_pixel_by_hand():
    logits = pixel(0.6, 0.3, 0.1)
    assert detectors.max_softmax(logits).item() == pytest.approx(0.4)
    assert detectors.margin(logits).item() == pytest.approx(1 - 0.3)
    nats = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    assert detectors.entropy(logits).item() == pytest.approx(nats / math.log(3))
    assert detectors.energy(logits + 2).item() == pytest.approx(-2)
    variance = (0.3**2 + 0.1**2) / 2 - 0.2**2
    assert detectors.covar(logits).item() == pytest.approx(0.4 + 0.25 * 4 / (2 * 0.4) * variance)
    assert detectors.covar(pixel(0.6, 0.2, 0.2)).item() == pytest.approx(0.4), "the others are even"


def test_the_max_logit_over_its_p_norm_by_hand():
    logits = torch.tensor([4.0, 1.0, -2.0]).view(1, 3, 1, 1)  # 3, 0, -3 without their mean
    assert detectors.max_logit(logits, 1).item() == pytest.approx(-3 / 6)
    assert detectors.max_logit(logits, 2).item() == pytest.approx(-3 / math.sqrt(18))
    assert detectors.max_logit(logits, 0).item() == detectors.max_softmax(logits).item()


def test_the_fitted_power_is_that_of_the_best_order_and_0_where_none_beats_the_max_softmax():
    """The runner-up alone says whether the first is right, or it is the max softmax that says it."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator) * torch.linspace(0.2, 6, 4000)[:, None]
    second = detectors.max_logit(logits[..., None, None], 3).flatten()
    softmax = detectors.max_softmax(logits[..., None, None]).flatten()
    for score, power in ((second, 3), (softmax, 0)):
        wrong = score > score.quantile(0.8)
        labels = torch.where(wrong, (logits.argmax(1) + 1) % 5, logits.argmax(1))
        assert detectors.fit_power(logits, labels) == power


def test_what_several_predictions_say_of_one_pixel_by_hand():
    agree = torch.tensor([0.7, 0.3]).view(1, 1, 2, 1, 1).repeat(2, 1, 1, 1, 1)
    assert detectors.mutual_information(agree).item() == pytest.approx(0, abs=1e-6)
    assert detectors.mutual_information(torch.eye(2).view(2, 1, 2, 1, 1)).item() == pytest.approx(math.log(2))
    case = Study(torch.zeros(1, 3, 1, 1), pixel(0.2, 0.8), None, None, networks=None)
    others = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).view(2, 1, 2, 1, 1)
    assert case.given(others).sigmoid().item() == pytest.approx(0.3), "what they give to the judged class"


def test_the_fitted_temperature_undoes_a_scaling_of_calibrated_logits():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20000, 4, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert detectors.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)


@pytest.fixture
def case(tiny):
    networks = open_experiment(tiny()).networks().eval()
    image = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits = networks.student.predict(image)
        others = {"networks": networks, "temperature": 2.0, "peers": (networks.teacher,)}
        return Study(image, logits, networks.student, networks.eln, networks.eln, **others)


VIEWS = {"mean of the views", "mean of the views as the prediction"}


@torch.no_grad()
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_gives_a_finite_trust_a_pixel(case, name):
    trust = DETECTORS[name].trust(case)
    assert trust.shape == (2, 32, 32)
    assert torch.isfinite(trust).all()
    assert not case.segmenter.training
    assert not any(module.training for module in case.segmenter.modules())


@torch.no_grad()
def test_with_only_the_judged_segmenter_to_ask_ensemble_and_teacher_doubt_like_the_max_softmax(case):
    alone = DETECTORS["1 - max softmax"].trust(case)
    for name in ("ensemble", "student and teacher"):  # the teacher is still the student
        assert torch.allclose(DETECTORS[name].trust(case), alone, atol=1e-5)
    usable = detectors.usable(case.networks, ())
    assert DETECTORS.keys() - usable.keys() == {"ensemble", "student and teacher", BOUND, *VIEWS}


@pytest.mark.parametrize(("form", "passes", "pixels"), [("residual", 3, 2.25), ("features", 2, 1.25)])
def test_a_detector_says_what_its_passes_cost(tiny, form, passes, pixels):
    networks = Networks(tiny({"model.eln_scales": [0.5], "model.eln_form": form}), classes=3)
    usable = detectors.usable(networks, (networks.student,) * 2, bound=True)
    costs = {name: detector.cost(networks.eln) for name, detector in usable.items()}
    assert costs["ELN"] == costs[BOUND] == {"passes": passes, "pixels": pixels}
    assert {costs[name]["pixels"] for name in VIEWS} == {1.25}
    assert costs["ensemble"] == {"passes": 3, "pixels": 3}
    assert costs["entropy"] == {"passes": 1, "pixels": 1}


def test_the_mean_of_the_views_judges_itself_where_it_is_the_prediction(tiny):
    params = tiny({"model.eln_scales": [0.5], "evaluation.pixels": 200})
    experiment = train(params, "1_supervised", "2_error_localization")
    found = detection.detect(experiment, "2_error_localization")["detectors"]
    networks = experiment.networks(after="2_error_localization").eval()
    rows = {row["name"]: row for row in error_detection(networks.student, networks.eln, experiment.dataset, params)}
    for name in ("ELN", *VIEWS):
        assert found[name]["pooled"]["aupr"] == pytest.approx(rows[name]["aupr"], abs=1e-4)
        assert found[name]["pooled"]["error_rate"] == rows[name]["error_rate"]


def test_a_run_is_measured_by_every_detector_on_the_same_pixels(tiny, trained):
    experiment = copied(trained, tiny({"evaluation.pixels": 200}), "1_supervised", "2_error_localization")
    found = detection.detect(experiment, "2_error_localization")["detectors"]
    assert found.keys() == DETECTORS.keys() - {"ensemble", "student and teacher", BOUND, *VIEWS}
    assert {row["pooled"]["pixels"] for row in found.values()} == {3 * 200}
    assert len({row["pooled"]["error_rate"] for row in found.values()}) == 1
    for row in found.values():
        for parts in (row["classes"], row["distances"]):
            assert sum(part["pixels"] for part in parts.values()) == 600
        assert row["by_image"].keys() == {item.id for item in experiment.dataset.val}
        assert row["curve"]["coverage"][-1] == 1
        assert row["curve"]["risk"][-1] == pytest.approx(row["pooled"]["error_rate"])


@pytest.mark.parametrize(("decoder", "drops"), [("deeplabv3plus", True), ("segformer", False), ("fpn", True)])
def test_mc_dropout_judges_only_where_a_decoder_drops_anything(tiny, decoder, drops):
    networks = Networks(tiny({"model.decoder": decoder, "model.decoder_channels": 32}), classes=3).eval()
    assert ("MC dropout, entropy" in detectors.usable(networks, ())) == drops
    if drops:
        image = torch.rand(1, 3, 32, 32)
        case = Study(image, networks.student.predict(image), networks.student, networks.eln, networks=networks)
        assert case.dropped_out.var(dim=0).max() > 0
