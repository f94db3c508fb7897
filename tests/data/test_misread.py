"""What was once misread in silence, or stopped with a traceback: now the right value, or one line."""

import errno
import os
import tempfile
import unicodedata

import numpy as np
import pytest
from PIL import Image
from trees import fails, folder, folder_tree, masked_dataset, write_image, write_mask

from eln_kit import cli, figures, paths
from eln_kit.data import Item, Split, read_image, read_mask
from eln_kit.data.ids import find_listed
from eln_kit.store.params_file import build
from eln_kit.tools import account, queue
from eln_kit.tools.survey import survey


@pytest.mark.parametrize(("mode", "fourth"), [("RGBX", "another band"), ("RGBA", "alpha")])
def test_a_tiff_of_further_bands_is_refused_and_one_with_alpha_is_not(tmp_path, mode, fourth):
    Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
    if fourth == "alpha":
        assert read_image(Item("a", tmp_path / "a.tif")).shape == (3, 4, 4)
        return
    with fails("has 4 bands, and three are read; if it is an image, say which: data.bands="):
        read_image(Item("a", tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["smoothed", "instances"])
def test_more_values_than_a_person_would_name_are_no_classes(tmp_path, kind):
    folder_tree(tmp_path)
    values = np.arange(192).reshape(12, 16) if kind == "smoothed" else np.arange(192).reshape(12, 16) // 4
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "masks/train/00.png")
    with fails("values, more than a person would name"):
        folder(tmp_path)


def test_a_mask_that_is_not_turned_as_its_image_is_is_told_so(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, 12)).save(tmp_path / "a.jpg", exif=exif)
    dataset = masked_dataset(tmp_path, [(0, 1)])
    with fails("its EXIF tag turns it, and the mask is not turned"):
        read_mask(Item("a", tmp_path / "a.jpg", write_mask(tmp_path / "a.png")), dataset)


def test_an_image_in_training_and_validation_under_two_names_is_told(tmp_path):
    folder_tree(tmp_path)
    image = Image.open(tmp_path / "images/train/00.png")
    image.save(tmp_path / "images/val/01.png")
    dataset = folder(tmp_path)
    params = build({}, {"data.name": "folder", "data.root": str(tmp_path), "views.crop": [16, 16]})
    said = account.describe(survey(dataset), Split(dataset.train, []), params)
    assert "1 validation images are training images too" in said
    assert "01.png and " in said


def test_a_name_of_a_mac_and_one_of_linux_are_the_same(tmp_path):
    mac, linux = (unicodedata.normalize(form, "schön") for form in ("NFD", "NFC"))
    item = Item(mac, tmp_path / "x.png", tmp_path / "x.png")
    (tmp_path / "list.txt").write_text(linux)
    assert find_listed(tmp_path / "list.txt", [item]) == [item]
    folder_tree(tmp_path / "data")
    write_image(tmp_path / f"data/images/train/{mac}.png")
    write_mask(tmp_path / f"data/masks/train/{linux}.png")
    assert [item.id for item in folder(tmp_path / "data").train if item.mask][-1] == linux
    write_image(tmp_path / f"data/images/train/{linux}.png")
    with fails("has the same id as"):
        folder(tmp_path / "data")


def test_dollars_in_names_are_dollars(tmp_path):
    figure = figures.iou_bars({"a$_": [0.5, 0.4]}, ["$x_{", "b"])
    assert figures.save(figure, tmp_path / "a.png").is_file()


def test_a_name_as_long_as_it_may_be_is_written(tmp_path):
    file = tmp_path / ("a" * 251 + ".png")
    paths.write_whole(file, "x")
    paths.link(file, tmp_path / ("b" * 251 + ".png"))
    assert file.read_text() == "x"


def test_sockets_lie_in_tmp_where_the_folder_for_temporary_files_has_a_long_name(tmp_path, monkeypatch):
    place = tmp_path / ("x" * 90)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() == str(place)
    paths.shorten_temporaries()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == "/tmp"
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_a_full_disk_is_one_line_whatever_was_being_written(monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x.png")

    monkeypatch.setattr("eln_kit.paths.copy_shipped", full)
    assert cli.main(["copy"]) == 1
    told = capsys.readouterr().err
    assert told == "runs/x.png: No space left on device; make room, and run the same command to go on\n"


def test_a_long_queue_is_ranked_at_its_head_and_whole_in_all(monkeypatch):
    generator = np.random.default_rng(0)
    scores, features = generator.random(60), generator.normal(size=(60, 5))
    whole, _ = queue.rank(scores, features)
    monkeypatch.setattr(queue, "RANKED", 10)
    order, _ = queue.rank(scores, features)
    assert order[:10].tolist() == whole[:10].tolist()
    assert sorted(order.tolist()) == list(range(60))
