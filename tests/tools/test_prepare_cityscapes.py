"""`eln-kit data cityscapes` on small trees and archives in the exact official layout."""

import pytest
from published import FRAMES, IMAGES, MASKS, files, mends, put, told
from trees import cityscapes, cityscapes_tree, write_image

from eln_kit import cli
from eln_kit.tools.prepare import cityscapes as prepare_cityscapes
from eln_kit.tools.prepare import prepare

COUNTS = prepare_cityscapes.COUNTS
pytestmark = pytest.mark.usefixtures("published")  # its small counts


@pytest.fixture
def ready_cityscapes(tmp_path, published, capsys):
    assert prepare("cityscapes", put(tmp_path / "city", published, IMAGES, MASKS))
    capsys.readouterr()
    return tmp_path / "city"


def test_cityscapes_archives_become_a_data_set_that_the_loader_opens(tmp_path, published, capsys):
    root = put(tmp_path, published, IMAGES, MASKS)
    assert cli.main(["data", "cityscapes", "--root", str(root)]) == 0
    assert told(capsys) == [
        "ok    train          2 of 2 images",
        "ok    val            1 of 1 images",
        "ok    masks          3 of 3 labelIds; mapped to the 19 classes as they are read",
        "note  official lists none; splits are drawn by seed",
        f"ready: set data.root to {root}",
    ]
    assert [len(cityscapes(root).train), len(cityscapes(root).val)] == [2, 1]
    assert not (root / "README").exists()


def test_cityscapes_with_train_ids_is_as_good(tmp_path, capsys):
    assert prepare("cityscapes", cityscapes_tree(tmp_path, FRAMES, "labelTrainIds"))
    assert "ok    masks          3 of 3 labelTrainIds" in told(capsys)


def test_a_half_unpacked_cityscapes_is_counted_and_with_the_archives_completed(ready_cityscapes, published, capsys):
    (ready_cityscapes / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png").unlink()
    (ready_cityscapes / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelIds.png").unlink()
    for name in (IMAGES, MASKS):
        (ready_cityscapes / name).unlink()
    assert not prepare("cityscapes", ready_cityscapes)
    mends(capsys, f"1 of 2 images in {ready_cityscapes}/leftImg8bit/train: put {IMAGES}", "2 of 3 labelIds in ")
    assert prepare("cityscapes", put(ready_cityscapes, published, IMAGES, MASKS))


def test_more_images_than_cityscapes_has_is_a_line(ready_cityscapes, capsys):
    write_image(ready_cityscapes / "leftImg8bit/train/mine/mine_000000_000000_leftImg8bit.png")
    assert not prepare("cityscapes", ready_cityscapes)
    mends(capsys, "3 images in")


def test_coarse_masks_alone_are_not_enough(tmp_path, published, capsys):
    root = put(tmp_path, published, IMAGES)
    (root / "gtCoarse/train/aachen").mkdir(parents=True)
    assert not prepare("cityscapes", root)
    mends(capsys, f"0 of 3 masks; gtCoarse is there, but only gtFine is read: put {MASKS}")


def test_tests_empty_masks_are_only_a_note(ready_cityscapes, capsys):
    cityscapes_tree(ready_cityscapes, {"test": ["berlin_000000_000019"]})
    assert prepare("cityscapes", ready_cityscapes)
    assert "note  test           is not read: its masks are empty, the benchmark keeps the truth" in told(capsys)


def test_archives_unpacked_into_folders_of_their_own_are_found_and_what_to_move_is_said(tmp_path, capsys):
    cityscapes_tree(tmp_path / "leftImg8bit_trainvaltest", FRAMES)
    assert not prepare("cityscapes", tmp_path)
    deep = tmp_path / "leftImg8bit_trainvaltest/leftImg8bit"
    assert f"{deep} is a folder too deep: move leftImg8bit up into {tmp_path}" in told(capsys)[0]


def test_cityscapes_is_not_downloaded_and_says_so(ready_cityscapes, capsys):
    assert prepare("cityscapes", ready_cityscapes, download=True)
    assert told(capsys)[0].startswith("note  download       by hand")


def test_what_is_ready_is_left_alone_and_needs_no_archive(ready_cityscapes):
    for archive in (IMAGES, MASKS):
        (ready_cityscapes / archive).unlink()
    before = files(ready_cityscapes)
    assert prepare("cityscapes", ready_cityscapes)
    assert files(ready_cityscapes) == before


def test_without_archives_each_thing_missing_is_a_line_that_says_what_to_put_where(tmp_path, capsys):
    assert cli.main(["data", "cityscapes", "--root", str(tmp_path)]) == 1
    mends(
        capsys, f"0 of 2 images in {tmp_path}", f"put {IMAGES} (from", f"0 of 3 masks in {tmp_path}/gtFine: put {MASKS}"
    )
    assert not list(tmp_path.iterdir())


def test_the_published_counts_are_the_official_ones():
    assert COUNTS == {"train": 2975, "val": 500}
