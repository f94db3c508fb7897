"""The pages of a run and of a queue in Chromium: at the width of a telephone, with a mouse, and while a run goes on."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image
from trees import write_image

from eln_kit import cli
from eln_kit.batch import index, state
from eln_kit.data.classes import in_palette
from eln_kit.params import Params

jupyter_lab = pytest.importorskip("jupyter_lab", reason="playwright is not installed")
opened = jupyter_lab.opened
pytestmark = [pytest.mark.slow, pytest.mark.skipif(jupyter_lab.CHROMIUM is None, reason="chromium is not installed")]

NARROW = 390
COLORS = np.array([[200, 0, 0], [0, 0, 200]])


@pytest.fixture
def run(tmp_path):
    """A run folder with two images to drag a threshold on, and long names in its tables."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(Params().model_dump()))
    name = "a network with a name as long as those of the detectors that saw the truth"
    rows = [{"name": name, "steps": 750, "miou": 0.5, "pixel_accuracy": 0.9, "iou": [0.9, 0.1]}]
    (tmp_path / "4_evaluate").mkdir()
    results = {"classes": ["background", "cross"], "segmentation": rows}
    (tmp_path / "4_evaluate/results.json").write_text(json.dumps(results))
    for number, size in enumerate(((40, 30), (20, 50)), start=1):
        folder = tmp_path / index.TRUST / f"{number:02}"
        folder.mkdir(parents=True)
        Image.new("RGB", size, "gray").save(folder / "input.png")
        mask = np.zeros(size[::-1])
        mask[:, : size[0] // 2] = 1
        for file in ("prediction", "truth"):
            in_palette(mask, COLORS).save(folder / f"{file}.png")
        Image.fromarray(np.uint8(mask * 204)).save(folder / "eln_map.png")  # the left half is 20 % sure
    state.write_state(tmp_path, {"2_error_localization": {"state": "finished", "seconds": 4000}})
    return tmp_path


def test_an_image_is_chosen_by_its_picture_and_the_threshold_drops_what_is_less_sure(run):
    with opened(index.write_index(run).as_uri(), 1280, 900) as page:
        kept = page.locator("#kept")
        page.locator("#threshold").fill("20")
        assert kept.text_content().startswith("from 20 % on: 100.0 % of the pixels kept, 100.0 %")
        page.locator("#threshold").fill("21")
        assert "50.0 % of the pixels kept" in kept.text_content()
        page.get_by_role("button", name="image 2").click()
        page.wait_for_function("document.getElementById('map').height === 50")
        assert page.locator("#truth").evaluate("image => image.naturalHeight") == 50


def test_the_page_of_a_run_fits_a_telephone(run):
    with opened(index.write_index(run).as_uri(), NARROW, 900) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_the_page_of_a_queue_fits_a_telephone_and_draws_its_numbers_outside_the_regions(trained, tmp_path):
    for number in range(2):
        write_image(tmp_path / f"pool/{number}.png", (32, 40))
    assert cli.main(["predict", str(trained), "--images", str(tmp_path / "pool"), "--out", str(tmp_path / "out")]) == 0
    with opened((tmp_path / "out/queue.html").as_uri(), NARROW, 900) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= NARROW
        boxes = page.locator(".maps rect.light").evaluate_all("all => all.map(each => each.getBBox().y)")
        letters = page.locator(".maps text").evaluate_all("all => all.map(each => +each.getAttribute('y'))")
        assert len(boxes) == len(letters) > 0
        assert all(letter < box for letter, box in zip(letters, boxes, strict=True))


def test_a_page_that_is_renewed_reloads_and_keeps_open_what_was_opened(run, monkeypatch):
    monkeypatch.setattr(index, "EVERY", 2)  # time to load the page on a busy machine
    file = index.write_index(run, running=True)
    with opened(file.as_uri(), 1280, 900) as page:
        page.locator("#every-knob summary").click()
        (run / "1_supervised").mkdir()
        (run / "1_supervised/metrics.jsonl").write_text(
            json.dumps({"step": 7, "images_per_s": 8.0, "main": 1.0}) + "\n"
        )
        index.write_index(run, running=True)
        page.get_by_text("step 7 of").wait_for()
        page.locator("#every-knob[open]").wait_for()  # over the next reload, too
        index.write_index(run)
        page.get_by_text("This run goes on").wait_for(state="detached")


def test_a_page_that_nobody_renews_any_more_says_so(run, monkeypatch):
    monkeypatch.setattr(index.time, "time", lambda: 0)
    with opened(index.write_index(run, running=True).as_uri(), 1280, 900) as page:
        page.get_by_text("the run has been killed, or its machine is not reached").wait_for()
