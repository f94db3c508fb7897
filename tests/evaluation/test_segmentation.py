import pytest
import torch

from eln_kit.data import VOID, read_mask
from eln_kit.evaluation import measures, segmentation, trust
from eln_kit.evaluation.measures import interval
from eln_kit.method.stages import SemiSupervised
from eln_kit.store.experiment import open_experiment
from eln_kit.tools.survey import survey


def test_miou_of_a_hand_worked_confusion_matrix_leaves_out_and_names_the_absent_class():
    counts = torch.tensor([[3, 1, 0], [1, 5, 0], [0, 0, 0]]).double()
    result = segmentation.summarize_confusion(counts, ["sky", "road", "car"])
    assert result["iou"] == [pytest.approx(3 / 5), pytest.approx(5 / 7), None]
    assert result["miou"] == pytest.approx((3 / 5 + 5 / 7) / 2)
    assert result["pixel_accuracy"] == pytest.approx(8 / 10)
    assert result["absent"] == ["car"]


def test_a_class_predicted_but_never_there_counts_as_zero():
    result = segmentation.summarize_confusion(torch.tensor([[3, 1], [0, 0]]).double(), ["sky", "road"])
    assert result["iou"] == [pytest.approx(3 / 4), 0]
    assert result["absent"] == []


def test_without_an_error_there_is_no_curve_and_no_fault(tiny, monkeypatch):
    experiment = open_experiment(tiny())
    networks = experiment.networks()
    right = torch.tensor([[1.0, 2.0], [1.0, 1.0]])  # trust, and whether right
    monkeypatch.setattr(trust, "sampled", lambda _, __, chosen, *___: [(dict.fromkeys(chosen, right), None, None)])
    rows = trust.error_detection(networks.student, networks.eln, experiment.dataset, experiment.params)
    assert {(row["auroc"], row["aupr"], row["curve"], row["kept_accuracy"]) for row in rows} == {(None, None, None, 1)}


def test_reliability_of_two_bins_by_hand():
    result = measures.reliability(torch.tensor([0.01, 0.99, 0.99, 0.99]), torch.tensor([False, True, True, False]))
    assert result["accuracy"][0] == 0
    assert result["accuracy"][-1] == pytest.approx(2 / 3)
    assert result["confidence"][-1] == pytest.approx(0.99)
    assert result["accuracy"][7] is None
    assert result["ece"] == pytest.approx(0.25 * 0.01 + 0.75 * (0.99 - 2 / 3))


def test_a_perfect_segmenter_has_miou_1_whatever_size_the_network_sees(tiny, monkeypatch):
    params = tiny({"data.resize": 0.5})
    experiment = open_experiment(params)
    masks = torch.stack([read_mask(item, experiment.dataset) for item in experiment.dataset.val])

    def know(segmenter, images, knobs):
        assert images.shape == (3, 3, 16, 16)
        return torch.nn.functional.one_hot(masks.long(), 9).permute(0, 3, 1, 2).float()

    monkeypatch.setattr(segmentation, "predict", know)
    result = segmentation.measure(None, experiment.dataset, params)
    assert result["miou"] == 1
    assert sum(map(sum, result["confusion"])) == 3 * 32 * 32


def test_only_neighbours_of_one_size_are_predicted_together_and_not_too_many(tiny, monkeypatch):
    params = tiny()
    dataset = open_experiment(params).dataset
    sides = [8, 8, 8, 6, 8]
    monkeypatch.setattr(segmentation, "TOGETHER", 2 * 8 * 8)
    monkeypatch.setattr(segmentation, "read_image", lambda side: torch.full((3, side, 8), side, dtype=torch.uint8))
    monkeypatch.setattr(segmentation, "read_mask", lambda side, dataset: torch.full((side, 8), side, dtype=torch.uint8))
    found = list(segmentation.together(sides, dataset, params))
    assert [tuple(masks.shape) for _, masks in found] == [(2, 8, 8), (1, 8, 8), (1, 6, 8), (1, 8, 8)]
    assert all(torch.equal((255 * images).round(), masks[:, None].expand_as(images)) for images, masks in found)


def test_error_detection_is_the_same_when_every_image_is_judged_alone(tiny, monkeypatch):
    params = tiny({"model.eln_scales": [0.75]})
    experiment = open_experiment(params)
    networks = experiment.networks().eval()
    found = trust.error_detection(networks.student, networks.eln, experiment.dataset, params)
    monkeypatch.setattr(segmentation, "TOGETHER", 1)
    alone = trust.error_detection(networks.student, networks.eln, experiment.dataset, params)
    for one, other in zip(found, alone, strict=True):
        assert one["auroc"] == pytest.approx(other["auroc"], abs=1e-4)
        assert one["kept_accuracy"] == pytest.approx(other["kept_accuracy"], abs=1e-3)


def test_resampled_images_spread_as_they_differ_and_groups_are_drawn_whole():
    good, bad = torch.tensor([[[10.0, 0], [0, 10]], [[5.0, 5], [5, 5]]])  # mIoU 1 and 1/3
    counts = torch.stack([good, bad] * 20).double()
    values = segmentation.resampled(counts, [str(place) for place in range(40)])
    low, high = interval(values)
    assert low < segmentation.summarize_confusion(counts.sum(0), ["a", "b"])["miou"] < high
    in_two = segmentation.resampled(counts, ["good", "bad"] * 20)
    assert interval(in_two) == pytest.approx((1 / 3, 1))
    assert segmentation.resampled(counts, ["one"] * 40).unique().numel() == 1
    assert (segmentation.resampled(counts, ["good", "bad"] * 20) - in_two).abs().max() == 0, "paired"


def test_a_class_that_a_resample_lacks_does_not_count():
    counts = torch.tensor([[[4.0, 0, 0], [0, 0, 0], [0, 0, 4]], [[4.0, 0, 0], [0, 4, 0], [0, 0, 0]]]).double()
    assert segmentation.resampled(counts, ["a", "b"]).unique().tolist() == [1]


def test_void_pixels_are_measured_nowhere(tiny, monkeypatch):
    params = tiny()
    experiment = open_experiment(params)
    void = torch.full((32, 32), VOID, dtype=torch.uint8)
    void[0, :5] = 1
    monkeypatch.setattr(segmentation, "read_mask", lambda item, dataset: void)
    networks = experiment.networks()
    confusion = segmentation.measure(networks.student, experiment.dataset, params)["confusion"]
    assert sum(map(sum, confusion)) == 3 * 5
    seen = []
    ranked = trust.Ranking
    monkeypatch.setattr(trust, "Ranking", lambda given, wrong: seen.append(len(given)) or ranked(given, wrong))
    trust.error_detection(networks.student, networks.eln, experiment.dataset, params)
    assert seen == [15, 15]


def test_an_untrained_residual_eln_is_the_mean_of_its_views_at_one_pass_more(tiny):
    params = tiny({"model.eln_scales": [0.5]})
    networks, experiment = open_experiment(params).networks(), open_experiment(params)
    rows = trust.error_detection(networks.student, networks.eln, experiment.dataset, params)
    eln, confidence, mean, as_prediction = rows
    assert [row["name"] for row in rows[2:]] == ["mean of the views", "mean of the views as the prediction"]
    assert mean["auroc"] == pytest.approx(eln["auroc"], abs=1e-4) != pytest.approx(confidence["auroc"], abs=1e-4)
    assert mean["error_rate"] == eln["error_rate"]
    assert as_prediction["auroc"] != mean["auroc"]
    assert [(row["passes"], row["pixels"]) for row in rows] == [(3, 2.25), (1, 1), (2, 1.25), (2, 1.25)]


def test_examples_for_figures_have_the_size_the_networks_see(tiny):
    from eln_kit.evaluation import examples

    params = tiny({"data.resize": 0.75})
    experiment = open_experiment(params)
    networks, item = experiment.networks(), experiment.dataset.val[0]
    seen = examples.examine(networks, item, experiment.dataset, params)
    assert len(seen.predictions) == len(seen.wrongness) == 3
    taught = examples.teach(SemiSupervised(networks, params), item, experiment.dataset)
    for each in (seen.truth, *seen.predictions, *seen.wrongness, taught.keep):
        assert each.shape == (24, 24)
    counts = survey(experiment.dataset).class_pixels(experiment.dataset.train)
    assert counts.sum() == 12 * 32 * 32
