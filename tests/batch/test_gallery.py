import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import fails, folder, write_image

import eln_kit
from eln_kit import cli
from eln_kit.batch import gallery
from eln_kit.data import read_mask
from eln_kit.faults import DataError
from eln_kit.tools import label
from eln_kit.tools.label import Labelling


@pytest.fixture
def pool(tmp_path):
    """Five images in folders of several depths, two of them of one name."""
    for name in ("a.png", "one/b.jpg", "one/b.png", "one/two/c <i>.png", "one/two/d.png"):
        write_image(tmp_path / "pool" / name, (32, 40))
    return tmp_path / "pool"


IDS = ["a", "one/b.jpg", "one/b.png", "one/two/c <i>", "one/two/d"]


def predict(run, pool, out, *more):
    return cli.main(["predict", str(run), "--images", str(pool), "--out", str(out), *more])


def contents(out):
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def read(out, kind, id):
    return np.asarray(Image.open(out / kind / f"{id}.png"))


def test_each_image_gets_a_mask_its_trust_what_is_trusted_of_it_and_a_place_on_the_page(
    trained, pool, tmp_path, capsys
):
    out = tmp_path / "out"
    assert predict(trained, pool, out) == 0
    assert "5 images labelled" in capsys.readouterr().out
    model = eln_kit.load(trained)
    for id in IDS:
        mask, trust = (read(out, kind, id) for kind in ("masks", "trust"))
        if (trust >= 128).any():
            assert (read(out, "trusted/masks/train", id) == np.where(trust >= 128, mask, 255)).all()
        else:
            assert not (out / f"trusted/masks/train/{id}.png").exists()
    found = model(pool / "a.png")
    assert (read(out, "masks", "a") == found.mask).all()
    assert np.abs(read(out, "trust", "a") / 255 - found.trust).max() < 0.5 / 255 + 1e-6
    picture = Image.open(out / "masks/a.png")
    assert picture.mode == "P"
    assert (np.asarray(picture.convert("RGB")) == model.colors[found.mask]).all()
    rows = (out / "queue.csv").read_text().splitlines()
    assert [row["rank"] for row in csv.DictReader(rows)] == list("12345")
    page = (out / "queue.html").read_text()
    assert "one/two/c &lt;i&gt;.png" in page
    assert "<i>" not in page, "no markup from a name"
    linked = set(re.findall(r'href="(queue/[^"]+)"', page))
    assert linked == {file.relative_to(out).as_posix() for file in (out / "queue").glob("*.png")}
    assert len([name for name in linked if name.endswith("_trust.png")]) == 5
    assert "eln-kit check" in page, "what to do next"


def test_what_is_trusted_is_a_data_set_that_check_reads(trained, pool, tmp_path, capsys):
    out, model = tmp_path / "out", eln_kit.load(trained)
    sure = max(each.trust.max() for each in model([pool / "a.png", pool / "one/b.jpg"]))
    only_a_few = int(sure * 255)
    Labelling(model, pool, out, np.full(len(model.classes), only_a_few)).run()
    knobs = (f"data.root={out / 'trusted'}", "semi_supervised.unlabeled=false")
    assert cli.main(["check", "photos", *(part for knob in knobs for part in ("--set", knob))]) == 0
    dataset = folder(out / "trusted")
    assert dataset.classes == model.classes
    assert [item.id for item in sorted(dataset.train, key=lambda item: item.id)] == IDS
    masks = [read_mask(item, dataset) for item in dataset.train if item.mask]
    assert masks, "images of which nothing is trusted have none, and are unlabelled"
    assert all((mask != 255).any() for mask in masks)
    assert len(dataset.val) == 3


def test_a_stopped_labelling_goes_on_without_doing_anything_twice(trained, pool, tmp_path, monkeypatch):
    model, whole, stopped = eln_kit.load(trained), tmp_path / "whole", tmp_path / "stopped"
    Labelling(model, pool, whole).run()
    done, own = [], Labelling._label

    def until_two(*arguments):
        if len(done) == 2:
            raise KeyboardInterrupt
        return done.append(arguments[1].id) or own(*arguments)

    monkeypatch.setattr(Labelling, "_label", until_two)
    with pytest.raises(KeyboardInterrupt):
        Labelling(model, pool, stopped).run()
    with open(stopped / label.LOG, "a") as log:
        log.write('{"id": "one/b.p')  # as a kill leaves it
    monkeypatch.setattr(Labelling, "_label", lambda *a: done.append(a[1].id) or own(*a))
    Labelling(model, pool, stopped).run()
    assert done == IDS
    first, second = contents(whole), contents(stopped)
    assert first == second


def test_an_image_that_changed_is_labelled_again_and_one_that_went_is_forgotten(trained, pool, capsys):
    out = pool / "out"  # what is written there is not taken for images
    predict(trained, pool, out)
    assert len((out / label.LOG).read_text().splitlines()) == 1 + 5
    write_image(pool / "a.png", (32, 32))
    (pool / "one/two/d.png").unlink()
    predict(trained, pool, out)
    assert read(out, "masks", "a").shape == (32, 32)
    assert "one/two/d" not in (out / "queue.csv").read_text()
    assert "4 images labelled" in capsys.readouterr().out


def test_a_broken_image_is_one_line_and_the_rest_goes_on(trained, pool, tmp_path, capsys):
    (pool / "one/0.png").write_bytes((pool / "a.png").read_bytes()[:300])
    assert predict(trained, pool, tmp_path / "out") == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "0.png" in line]
    assert len(lines) == 1
    assert "5 images labelled" in out
    assert "1 could not be read" in out


def test_other_thresholds_are_refused_where_masks_are(trained, pool, tmp_path):
    model = eln_kit.load(trained)
    Labelling(model, pool, tmp_path / "out", np.full(len(model.classes), 100))
    with fails("images.jsonl: made with other weights, thresholds or knobs; choose another --out"):
        Labelling(model, pool, tmp_path / "out", np.full(len(model.classes), 101))


def test_a_precision_that_cannot_be_promised_is_one_line_and_nothing_is_written(trained, pool, tmp_path, capsys):
    assert predict(trained, pool, tmp_path / "out", "--precision", "0.98") == 1
    assert "0.98: cannot be promised from 3 labelled images" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        predict(trained, pool, tmp_path / "out", "--precision", "98")
    assert "should be above 0 and below 1" in capsys.readouterr().err


def test_a_promised_precision_sets_the_level_and_says_what_it_keeps(trained, pool, tmp_path, capsys, monkeypatch):
    model = eln_kit.load(trained)
    counts = np.zeros((60, len(model.classes), 256, 2), int)
    counts[:, :2, 200, 1], counts[:, :2, 90] = 30, (10, 10)
    monkeypatch.setattr(gallery.promise, "held_out", lambda *_: (counts, []))
    assert predict(trained, pool, tmp_path / "a", "--precision", "0.95") == 0
    assert (
        "60.0% of the pixels are kept, and 100.00% of those are right; trust from 0.357 on" in capsys.readouterr().out
    )
    assert json.loads((tmp_path / "a" / label.LOG).read_text().splitlines()[0])["made_with"][1] == [91] * len(counts[0])
    assert predict(trained, pool, tmp_path / "b", "--precision", "0.95", "--per-class") == 0
    printed = capsys.readouterr().out
    assert f"{model.classes[0]}: from trust 0.357 on 60.0% is kept" in printed
    assert f"{model.classes[2]}: nothing is kept, as it cannot be promised" in printed


def test_a_region_is_shown_with_what_is_around_it_and_within_the_image():
    assert gallery.around([40, 20, 60, 30], (200, 100)) == (30, 5, 70, 45)
    assert gallery.around([0, 90, 4, 100], (200, 100)) == (0, 60, 40, 100), "at least a fifth, from the corner"
    assert gallery.around([10, 0, 190, 100], (200, 100)) == (0, 0, 200, 100)


@pytest.mark.parametrize("folder", ["none", "empty"])
def test_no_images_are_one_line(trained, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        gallery.label(trained, tmp_path / folder, tmp_path / "out", None, False)
    assert not Path(tmp_path / "out").exists()
