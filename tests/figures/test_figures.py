"""Figures are drawn from tensors and arrays of any size, and say what is in the data."""

import io
import re
from functools import partial

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from eln_kit import figures
from eln_kit.evaluation.measures import Ranking
from eln_kit.evaluation.trust import BOUND
from eln_kit.figures import grid
from eln_kit.lab.figures import CAUGHT, WASTED, WRONG, Filtering, MadeErrors, ratio_sweep, wrongness_maps

CLASSES = ["background", "square", "disc", "ring"]
COLORS = np.array([[40, 40, 40], [230, 159, 0], [86, 180, 233], [0, 158, 115]], np.uint8)


def scene(height=32, width=48, classes=4, seed=0):
    """Image, truth with a void border, prediction, wrongness and keep."""
    draw = torch.Generator().manual_seed(seed)
    truth = torch.zeros(height, width, dtype=torch.long)
    for c in range(1, classes):
        y, x = (int(torch.randint(side - 8, (), generator=draw)) for side in (height, width))
        truth[y : y + height // 3, x : x + width // 3] = c
    image = torch.rand(3, height, width, generator=draw) * 0.3 + truth / classes * 0.6
    prediction = truth.roll((2, 3), (0, 1))
    truth[:2] = 255
    wrongness = (prediction != truth).float() * 0.7 + torch.rand(height, width, generator=draw) * 0.2
    return image, truth, prediction, wrongness, wrongness < 0.5


def texts(figure):
    found = [axis.get_title() for axis in figure.axes]
    for legend in [*figure.legends, *(axis.get_legend() for axis in figure.axes)]:
        found += [text.get_text() for text in legend.get_texts()] if legend else []
    found += [text.get_text() for axis in figure.axes for text in axis.texts]
    return " | ".join(found)


@pytest.fixture
def scenes():
    return [*zip(scene(), scene(48, 32, seed=1), scene(40, 40, seed=2), strict=True)]


def test_colorize_gives_each_class_its_color_and_void_grey():
    picture = figures.colorize(torch.tensor([[0, 3, 255]]), COLORS, void=(1, 2, 3))
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[COLORS[0].tolist(), COLORS[3].tolist(), [1, 2, 3]]]


def test_contact_sheet_names_void_only_where_present(scenes):
    images, truths, masks = scenes[:3]
    images = [(image * 255).to(torch.uint8) for image in images]  # they may be so
    assert "void" in texts(figures.contact_sheet(images, truths, CLASSES, COLORS))
    assert "void" not in texts(figures.contact_sheet(images, masks, CLASSES, COLORS))


def test_predictions_titles_hold_the_error_rate():
    image = np.zeros((3, 4, 4), np.float32)
    truth, mask = np.zeros((4, 4), int), np.zeros((4, 4), int)
    truth[0], mask[1, 0] = 255, 2
    drawn = figures.predictions([image], [truth], {"mine": [mask]}, CLASSES, COLORS)
    assert "8.3% wrong" in texts(drawn)


def test_predictions_without_truth_have_no_errors(scenes):
    images, _, masks = scenes[:3]
    assert "wrong" not in texts(figures.predictions(images, None, {"mine": masks}, CLASSES, COLORS))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_errors_has_a_row_a_decoder(count):
    image, truth, mask, wrongness, _ = scene()
    drawn = figures.errors(
        image, truth, mask, [mask] * count, [2.0] * count, [wrongness] * (count + 1), CLASSES, COLORS
    )
    assert texts(drawn).count("true errors") == count + 1
    assert "truth" in texts(drawn)


def test_pseudo_labels_count_what_is_kept_and_right():
    image = np.zeros((3, 2, 2), np.float32)
    truth, mask = np.array([[0, 1], [1, 255]]), np.array([[0, 1], [0, 0]])
    keep = np.array([[True, False], [True, True]])
    found = texts(figures.pseudo_labels([image], [truth], [mask], [keep], [keep * 1.0], CLASSES, COLORS))
    assert "67% kept" in found
    assert "50.0% of kept right" in found
    found = texts(figures.pseudo_labels([image], None, [mask], [keep], [keep * 1.0], CLASSES, COLORS))
    assert "75% kept" in found
    assert "right" not in found
    assert "0% kept" in texts(figures.pseudo_labels([image], None, [mask], [keep & False], [keep], CLASSES, COLORS))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [2, 12])
def test_numbers_with_absent_classes(count, tmp_path):
    classes, colors = [f"class {c}" for c in range(count)], np.arange(3 * count).reshape(count, 3)
    matrix = np.eye(count) * 90 + 1
    matrix[1] = 0
    iou = [0.5] * count
    iou[1] = float("nan")
    for drawn in (
        figures.class_shares(torch.arange(count), None, classes, colors),
        figures.class_shares(10 ** np.arange(count), np.ones(count), classes, colors),
        figures.confusion(matrix, classes),
        figures.iou_bars({"a": iou, "b": [float("nan")] * count}, classes),
    ):
        figures.save(drawn, tmp_path / "made" / "figure.png")
    assert texts(drawn).count("absent") == count + 1
    assert "mean 50.0%" in texts(drawn)


def test_the_figures_of_150_classes_stay_under_20_inches():
    classes, colors = [f"a class of number {c}" for c in range(150)], np.zeros((150, 3), np.uint8)
    image, mask = np.zeros((3, 64, 96)), np.arange(64 * 96).reshape(64, 96) % 150
    keep = mask > 5
    made = (
        figures.class_shares(np.ones(150), np.ones(150), classes, colors),
        figures.confusion(np.ones((150, 150)), classes),
        figures.iou_bars({n: np.full(150, np.nan) for n in "ab"}, classes),
        figures.contact_sheet([image], [mask], classes, colors),
        figures.predictions([image], None, {"a": [mask]}, classes, colors),
        figures.errors(image, mask, mask, [mask], [2], [keep, keep], classes, colors),
        figures.pseudo_labels([image], None, [mask], [keep], [keep], classes, colors),
        figures.judgement(image, mask, mask, keep, keep, classes, colors),
    )
    assert [figure for figure in made if max(figure.get_size_inches()) >= 20] == []


def test_of_many_classes_a_legend_names_the_most_frequent_and_a_matrix_has_no_numbers():
    classes = [f"<{c}>" for c in range(40)]
    mask = np.repeat(np.arange(40), np.arange(40) + 1)[None]
    shown = texts(figures.contact_sheet([np.zeros((3, *mask.shape))], [mask], classes, np.zeros((40, 3))))
    assert [name in shown for name in classes] == [False] * 10 + [True] * 30
    assert not texts(figures.confusion(np.ones((40, 40)), classes)).strip(" |")


@pytest.fixture
def unchosen(monkeypatch):
    """Fonts as before the first figure."""
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["sans-serif"])
    for function in (grid.choose_fonts, grid.tell_missing):
        function.cache_clear()
    yield
    grid.choose_fonts.cache_clear()


def test_letters_that_no_font_has_are_one_line(unchosen, tmp_path, capsys, monkeypatch, recwarn):
    monkeypatch.setattr(grid, "OTHER_SCRIPTS", [])
    for name in ("a.png", "b.png"):
        figures.save(figures.iou_bars({"a": [0.5, 0.5]}, ["\U000f0001猫", "b"]), tmp_path / name)
    assert re.fullmatch(r"no installed font has .*: install one, [^\n]*\n", capsys.readouterr().err)
    assert not list(recwarn)


def test_a_fallback_font_that_is_installed_has_the_letters(unchosen, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(grid, "OTHER_SCRIPTS", ["no such font", "STIXNonUnicode"])
    figures.save(figures.iou_bars({"a": [0.5, 0.5]}, ["\ue000", "b"]), tmp_path / "a.png")
    assert not capsys.readouterr().err
    assert matplotlib.rcParams["font.family"] == ["sans-serif", "STIXNonUnicode"]


def test_training_curves_skip_records_without_the_name():
    records = [{"step": s, "main": 10.0 / s, "eln": 1.0, "ratio/1": 3.0} for s in range(1, 99)]
    drawn = figures.loss_curves([*records, {"step": 99}], ["main", "eln", "kept_share"], "stage 2")
    assert [axis.get_title() for axis in drawn.axes] == ["main decoder, on labels", "ELN"]
    assert [axis.get_ylabel() for axis in drawn.axes] == ["loss", "loss"]
    assert [axis.get_yscale() for axis in drawn.axes] == ["log", "linear"]
    assert isinstance(figures.loss_curves([], ["main"]), Figure)
    assert isinstance(figures.ratio_curves(records, []), Figure)
    assert "its ratio, 2" in texts(figures.ratio_curves(records, [2.0]))


def test_shares_are_in_percent_and_have_titles_in_words():
    records = [{"step": s, "kept_share": 0.01 * s, "entropy_weak": 1.0} for s in (1, 50)]
    share, loss = figures.loss_curves(records, ["kept_share", "entropy_weak"]).axes
    assert share.get_title() == "pixels kept"
    assert share.yaxis.get_major_formatter()(0.5, 0) == "50%"
    assert (loss.get_title(), loss.get_ylabel()) == ("entropy weak", "loss")


def test_dropped_pixels_are_striped_and_void_ones_grey():
    image, truth, mask = np.zeros((3, 20, 20), np.float32), np.zeros((20, 20), int), np.zeros((20, 20), int)
    truth[:, 15:], keep = 255, np.indices((20, 20))[1] >= 10
    figure = figures.pseudo_labels([image], [truth], [mask], [keep], [keep * 1.0], CLASSES, COLORS)
    assert {"dropped", "void"} <= set(texts(figure).split(" | "))
    for picture in (figure.axes[3].images[0].get_array(), figure.axes[4].images[0].get_array()):
        dropped = {tuple(pixel) for pixel in picture[:, :10].reshape(-1, 3).tolist()}
        assert dropped == {(255,) * 3, (150,) * 3}
    assert (picture[:, 15:] == grid.VOID).all()


def test_a_highlighted_class_stands_alone_with_its_own_errors():
    image, truth, mask = np.zeros((3, 2, 4), np.float32), np.zeros((2, 4), int), np.zeros((2, 4), int)
    truth[0] = [2, 2, 2, 255]
    mask[0] = [2, 2, 1, 2]  # one missed, none invented but where the truth is void
    mask[1] = [1, 1, 1, 2]  # one invented, and three errors of other classes
    figure = figures.predictions([image], [truth], {"mine": [mask]}, CLASSES, COLORS, highlight=2)
    assert [axis.get_title() for axis in figure.axes[1:4]] == ["truth", "mine", "disc: 50.0% wrong"]
    assert (figure.axes[2].images[0].get_array()[0, 0] == COLORS[2]).all()
    assert (figure.axes[2].images[0].get_array()[1, 0] == 235).all()
    wrong = (figure.axes[3].images[0].get_array() == grid.WRONG).all(2)
    assert wrong.tolist() == [[False, False, True, False], [False, False, False, True]]


def test_a_panel_without_the_highlighted_class_says_so():
    image, truth, mask = np.zeros((3, 4, 4), np.float32), np.zeros((4, 4), int), np.ones((4, 4), int)
    figure = figures.predictions([image], [truth], {"mine": [mask]}, CLASSES, COLORS, highlight=3)
    assert [axis.get_title() for axis in figure.axes[1:4]] == [
        "truth: no ring",
        "mine: no ring",
        "no ring in this image",
    ]


def test_on_dark_paper_letters_axes_and_black_lines_are_light_and_on_white_nothing_changes():
    def figure():
        return figures.ratio_curves([{"step": 1, **{f"ratio/{k}": 2.0 for k in range(1, 8)}}], [2.0] * 7)

    assert figures.drawn(figures.on_paper(figure(), "white")) == figures.drawn(figure())
    dark = figures.on_paper(figure(), "#111111")
    (axis,), (legend,) = dark.axes, dark.legends
    assert axis.get_lines()[12].get_color() == "0.9", "the seventh is black"
    assert {text.get_color() for text in [*legend.get_texts(), *axis.get_xticklabels(), axis.xaxis.label]} == {"0.9"}
    picture = np.asarray(Image.open(io.BytesIO(figures.drawn(dark))))
    assert picture[0, 0].tolist() == [17, 17, 17]
    assert (picture == 255).all(axis=2).mean() < 0.01


def test_a_share_that_hardly_changes_fills_no_axis():
    records = [{"step": step, "kept_share": 0.6001 + step / 1e5, "kept_accuracy": 0.91 + step / 1e5} for step in (1, 2)]
    kept, right = figures.loss_curves(records, ["kept_share", "kept_accuracy"]).axes
    low, high = kept.get_ylim()
    assert low < 0 < 1 < high
    low, high = right.get_ylim()
    assert high - low == pytest.approx(0.1)
    assert low < 0.91 < high


def contrast(one, other):
    """Of two grey levels in 0..1, as WCAG has it."""
    light, dark = sorted((((c + 0.055) / 1.055) ** 2.4 + 0.05 for c in (one, other)), reverse=True)
    return light / dark


def test_a_saved_figure_has_nothing_behind_it_and_letters_that_light_and_dark_pages_bear(tmp_path):
    figure = figures.ratio_curves([{"step": 1, **{f"ratio/{k}": 2.0 for k in range(1, 8)}}], [2.0] * 7)
    picture = np.asarray(Image.open(figures.save(figure, tmp_path / "a.png")))
    assert picture[0, 0, 3] == 0
    drawn = figures.drawn(figures.on_paper(figures.iou_bars({"a": [0.5, 0.5]}, ["x", "y"])))
    assert np.asarray(Image.open(io.BytesIO(drawn)))[0, 0, 3] == 0
    (axis,), (legend,) = figure.axes, figure.legends
    letters = {text.get_color() for text in [*legend.get_texts(), *axis.get_xticklabels(), axis.xaxis.label]}
    letters.add(axis.get_lines()[12].get_color())  # the seventh, else black
    assert all(min(contrast(float(each), paper) for paper in (1, 0x11 / 255)) > 4.2 for each in letters)


def test_error_detection_shows_the_error_rate_once_and_a_long_name_leaves_room_for_the_curves():
    curve = {"recall": [0, 1], "precision": [1, 0.2], "aupr": 0.5, "error_rate": 0.2}
    drawn = figures.error_detection({"ELN": curve, BOUND: curve})
    drawn.draw_without_rendering()
    assert drawn.axes[0].get_position().width > 0.7
    assert "ELN, AUPR 0.500" in texts(drawn)
    assert f"{BOUND}, AUPR 0.500" in texts(drawn)
    assert texts(drawn).count("error rate, 20.0%") == 1


@pytest.mark.slow
def test_a_figure_shows_once_in_a_notebook():
    code = "import eln_kit.figures\neln_kit.figures.iou_bars({'a': [0.1, 0.2]}, ['x', 'y'])"
    cells = [nbformat.v4.new_code_cell(code), nbformat.v4.new_code_cell("1")]
    notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells)).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [("data" in o and "image/png" in o.data) for o in outputs] == [True, False]


def test_made_errors_show_each_decoder_and_its_error_rate(scenes):
    image, truth, mask = (each[0] for each in scenes[:3])
    made = MadeErrors(image, truth, {"main decoder": truth, "auxiliary 1, ratio 2": mask}, CLASSES, COLORS)
    shown = texts(made.figure)
    assert "main decoder | its errors: 0.0%" in shown
    assert f"auxiliary 1, ratio 2 | its errors: {figures.error_rate(truth, mask):.1%}" in shown
    assert all(name in shown for name in [*CLASSES, "wrong", "void"])


def test_maps_of_wrongness_share_one_scale(scenes):
    image, truth, mask, wrongness = (each[0] for each in scenes[:4])
    figure = wrongness_maps(image, truth, mask, {"ELN": 1 - wrongness, "entropy": 1 - wrongness / 2})
    maps = [axis.images[0] for axis in figure.axes if axis.images and axis.get_title() in ("ELN", "entropy")]
    assert [each.get_clim() for each in maps] == [(0, 1), (0, 1)]
    assert np.allclose(maps[0].get_array(), wrongness, atol=1e-6)


def test_a_sweep_of_ratios_is_drawn_with_the_main_decoder_and_the_correlation():
    figure = ratio_sweep({1.0: 0.2, 10.0: 0.5}, 0.12, 0.9)
    assert "rank correlation 0.90" in texts(figure)
    assert "main decoder, 12.0%" in texts(figure)
    assert figure.axes[0].get_lines()[0].get_ydata().tolist() == [0.2, 0.5]


@pytest.fixture
def filtering(scenes):
    image, truth, mask, wrongness = (each[0] for each in scenes[:4])
    ranking = Ranking(1 - wrongness[truth != 255], (mask != truth)[truth != 255])
    return Filtering(image, truth, mask, 1 - wrongness, {"ELN": ranking}, CLASSES, COLORS), ranking


def test_a_threshold_moves_pixels_titles_and_dots(filtering, scenes):
    moved, ranking = filtering
    truth, mask, wrongness = (each[0] for each in scenes[1:4])
    for threshold in (0.9, 0.4):
        figure = moved.at(threshold).figure
        keep, known = 1 - wrongness >= threshold, truth != 255
        assert f"kept at {threshold:.2f}: {keep[known].float().mean():.1%} of this image" in texts(figure)
        outcome = figure.axes[1].images[0].get_array()
        assert (outcome[known & keep & (mask != truth)] == WRONG).all()
        assert (outcome[known & ~keep & (mask != truth)] == CAUGHT).all()
        assert (outcome[known & ~keep & (mask == truth)] == WASTED).all()
        now = ranking.at(threshold)
        (x,), (y,) = moved.dots[0].get_data()
        assert (x, y) == (now["recall"], now["precision"])


def test_the_quick_picture_is_the_whole_figure_drawn_anew(filtering, scenes):
    image, truth, mask = (each[0] for each in scenes[:3])
    made = MadeErrors(image, truth, {"main decoder": truth, "auxiliary 1": mask}, CLASSES, COLORS)
    moves = [partial(filtering[0].at, threshold) for threshold in (0.3, 0.95, 0.3)]
    moves += [partial(made.change, 1, "auxiliary 1, ratio 10", each) for each in (truth, mask)]
    for move in moves:
        quick = np.asarray(Image.open(io.BytesIO(move().png())))
        whole = np.asarray(Image.open(io.BytesIO(figures.drawn(move().figure))))
        assert np.array_equal(quick, whole)
