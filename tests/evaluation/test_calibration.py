"""ELN's score as a probability."""

import numpy as np
import pytest
import torch
from finished import train

from eln_kit.evaluation.calibration import calibrate, fit_line
from eln_kit.evaluation.trust import error_detection
from eln_kit.store.experiment import open_experiment


def test_the_line_is_found_that_outcomes_were_drawn_by():
    draw = np.random.default_rng(0)
    logits = draw.normal(2, 2, 200_000)
    right = draw.random(200_000) < 1 / (1 + np.exp(-(0.5 * logits + 0.7)))
    assert fit_line(logits, right) == pytest.approx((0.5, 0.7), abs=0.02)


def test_without_an_error_the_line_stays_finite_and_rising():
    slope, offset = fit_line(np.linspace(-1, 5, 100), np.ones(100, dtype=bool))
    assert slope > 0
    assert np.isfinite([slope, offset]).all()


def test_calibration_lowers_the_calibration_error_on_its_images_and_changes_no_ranking(tiny):
    params = tiny({"data.shapes_val": 12})
    experiment = open_experiment(params)
    networks = experiment.networks().eval()
    networks.eln.shift.data.fill_(-2.0)
    before = error_detection(networks.student, networks.eln, experiment.dataset, params)[0]
    calibrate(networks.eln, networks.student, experiment.dataset.val, experiment.dataset, params)
    after = error_detection(networks.student, networks.eln, experiment.dataset, params)[0]
    assert after["reliability"]["ece"] < 0.5 * before["reliability"]["ece"]
    assert after["ece_before"] == pytest.approx(before["reliability"]["ece"], abs=1e-3)
    assert [after[name] for name in ("auroc", "aupr")] == pytest.approx([before["auroc"], before["aupr"]], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("calibrated", [True, False])
def test_training_leaves_a_calibrated_eln_in_the_checkpoint_where_images_are_held_out(tiny, calibrated):
    params = tiny({"data.held_out": 1, "error_localization.calibrated": calibrated})
    experiment = train(params, "1_supervised", "2_error_localization")
    eln = experiment.networks(after="2_error_localization").eln
    known = torch.stack([eln.log_weight, eln.slope, eln.offset])
    assert torch.equal(known, torch.tensor([0.0, 1, 0])) != calibrated
