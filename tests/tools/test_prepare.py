"""`eln-kit data voc` on small trees and archives in the exact official layout."""

import shutil

import pytest
from PIL import Image
from published import EXTRA, TAR, TGZ, TRAIN, TRAINAUG, VAL, files, mends, put, sbd_tree, told
from trees import ids, voc

from eln_kit import cli
from eln_kit.data import read_mask
from eln_kit.faults import DataError
from eln_kit.tools.prepare import prepare
from eln_kit.tools.prepare import voc as prepare_voc

LISTS = "VOCdevkit/VOC2012/ImageSets/Segmentation"
COUNTS = prepare_voc.COUNTS
pytestmark = pytest.mark.usefixtures("published")  # its small counts


@pytest.fixture
def ready_voc(tmp_path, published, capsys):
    assert prepare("voc", put(tmp_path / "voc", published, TAR, TGZ))
    capsys.readouterr()
    return tmp_path / "voc"


def test_vocs_two_archives_become_a_data_set_that_the_loader_opens(tmp_path, published, capsys):
    root = put(tmp_path, published, TAR, TGZ)
    assert cli.main(["data", "voc", "--root", str(root)]) == 0
    lines = told(capsys)
    assert lines[-1] == f"ready: set data.root to {root}"
    assert [line[21:] for line in lines if line.startswith("ok")] == [
        "2 of 2 images with masks",
        "2 of 2 images with masks",
        "4 of 4 images with masks in SegmentationClassAug",
    ]
    dataset = voc(root)
    assert (ids(dataset.train), ids(dataset.val)) == (TRAINAUG, VAL)
    assert not [name for name in files(root) if "/." in name or name.startswith(".")]


def test_vocs_train_keeps_its_own_masks_and_other_images_have_sbds(ready_voc):
    dataset = voc(ready_voc)
    for item in dataset.train:
        values = sorted(set(read_mask(item, dataset).ravel().tolist()))
        assert values == ([0, 15, 255] if item.id in TRAIN else [0, 20])


def test_sbds_masks_have_vocs_colours(ready_voc):
    mask = Image.open(ready_voc / f"VOCdevkit/VOC2012/SegmentationClassAug/{EXTRA[0]}.png")
    assert mask.getpalette()[60:63] == [0, 64, 128]


def test_of_sbd_only_what_is_read_is_unpacked(ready_voc):
    folder = ready_voc / "benchmark_RELEASE/dataset"
    assert sorted(path.name for path in folder.iterdir()) == ["cls", "train.txt", "val.txt"]


def test_what_is_ready_is_left_alone_and_needs_no_archive(ready_voc, capsys):
    for archive in (TAR, TGZ):
        (ready_voc / archive).unlink()
    shutil.rmtree(ready_voc / "benchmark_RELEASE")
    before = files(ready_voc)
    assert prepare("voc", ready_voc)
    assert files(ready_voc) == before
    assert told(capsys)[-1] == f"ready: set data.root to {ready_voc}"


@pytest.mark.parametrize("below", ["VOCdevkit", "VOCdevkit/VOC2012"])
def test_any_folder_that_the_loader_accepts_is_accepted(ready_voc, below):
    assert prepare("voc", ready_voc / below)


def test_torchvisions_own_place_of_sbd_is_found(tmp_path, published):
    root = put(tmp_path, published, TAR, TGZ)
    sbd_tree(root / "sbd")
    (root / TGZ).unlink()
    assert prepare("voc", root)


def test_without_archives_each_missing_one_is_a_line_that_says_what_to_put_where(tmp_path, capsys):
    assert cli.main(["data", "voc", "--root", str(tmp_path)]) == 1
    mends(capsys, f"put {TAR} into {tmp_path}, or add --download", f"put {TGZ} into {tmp_path}, or add --download")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_a_line_and_is_not_made(tmp_path, capsys):
    assert not prepare("cityscapes", tmp_path / "none")
    assert "none: no such folder; make it, or correct --root" in told(capsys)[0]
    assert not (tmp_path / "none").exists()


def test_with_only_vocs_archive_train_and_val_are_ready_and_sbd_is_asked_for(tmp_path, published, capsys):
    assert not prepare("voc", put(tmp_path, published, TAR))
    mends(capsys, f"0 of 4 masks in SegmentationClassAug (training uses train.txt without it): put {TGZ}")
    assert ids(voc(tmp_path).train) == TRAIN


def test_a_half_unpacked_voc_names_the_first_file_missing_and_with_the_archive_is_completed(
    ready_voc, published, capsys
):
    folder = ready_voc / "VOCdevkit/VOC2012"
    (ready_voc / TAR).unlink()
    (folder / f"JPEGImages/{TRAIN[1]}.jpg").unlink()
    (folder / f"SegmentationClass/{VAL[0]}.png").unlink()
    cut = folder / f"JPEGImages/{TRAIN[0]}.jpg"
    size = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[: size // 2])
    assert not prepare("voc", ready_voc)
    mends(
        capsys,
        f"1 of 2 images, JPEGImages/{TRAIN[1]}.jpg is missing: put {TAR} into",
        f"1 of 2 images, SegmentationClass/{VAL[0]}.png is missing: put {TAR} into",
    )
    assert prepare("voc", put(ready_voc, published, TAR))
    assert cut.stat().st_size == size


def test_images_of_sbd_that_vocs_folder_lacks_are_looked_for_in_its_archive(ready_voc, capsys):
    image = ready_voc / f"VOCdevkit/VOC2012/JPEGImages/{EXTRA[1]}.jpg"
    image.unlink()
    assert prepare("voc", ready_voc)
    assert image.is_file()
    image.unlink()
    (ready_voc / TAR).unlink()
    capsys.readouterr()
    assert not prepare("voc", ready_voc)
    mends(capsys, f"3 of 4 images, JPEGImages/{EXTRA[1]}.jpg is missing: put {TAR}")


def test_a_list_that_names_an_absent_image_is_a_line_that_names_it(ready_voc, capsys):
    with open(ready_voc / LISTS / "train.txt", "a") as file:
        file.write("2007_999999\n")
    assert not prepare("voc", ready_voc)
    mends(capsys, f"2 of 2 images, JPEGImages/2007_999999.jpg is missing: {ready_voc / TAR} holds no more")


@pytest.mark.parametrize(("name", "found"), [("train", "1 of 2"), ("val", "1 of 2"), ("trainaug", "3 of 4")])
def test_a_list_with_another_count_is_a_line_with_found_and_expected(ready_voc, name, found, capsys):
    file = ready_voc / LISTS / f"{name}.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert not prepare("voc", ready_voc)
    mends(capsys, f"{found} images in {file}: replace it with the published one")


def test_a_segmentationclassaug_from_elsewhere_is_enough(ready_voc, published):
    (ready_voc / LISTS / "trainaug.txt").unlink()
    (ready_voc / TGZ).unlink()
    shutil.rmtree(ready_voc / "benchmark_RELEASE")
    aug = ready_voc / "VOCdevkit/VOC2012/SegmentationClassAug"
    shutil.copy(aug / f"{TRAIN[0]}.png", aug / f"{VAL[0]}.png")
    assert prepare("voc", ready_voc)
    assert (ready_voc / LISTS / "trainaug.txt").read_text().split() == TRAINAUG


def test_the_authors_list_without_masks_asks_for_sbd(tmp_path, published, capsys):
    root = put(tmp_path, published, TAR)
    (root / LISTS).mkdir(parents=True)
    (root / LISTS / "trainaug.txt").write_text("\n".join(TRAINAUG))
    assert not prepare("voc", root)
    mends(capsys, f"0 of 4 masks in SegmentationClassAug, SBD's train.txt is missing: put {TGZ}")


def test_writing_masks_goes_on_where_it_was_stopped(tmp_path, published, capsys):
    root = put(tmp_path, published, TAR, TGZ)
    assert prepare("voc", root)
    aug = root / "VOCdevkit/VOC2012/SegmentationClassAug"
    (aug / f"{EXTRA[0]}.png").unlink()
    with pytest.raises(DataError, match=rf"{EXTRA[0]} has no mask.*eln-kit data voc"):
        voc(root)
    before = files(aug)
    assert prepare("voc", root)
    after = files(aug)
    assert after.pop(f"{EXTRA[0]}.png")
    assert after == before


def test_a_broken_mat_file_is_a_line_that_names_it_and_deleting_it_mends_it(ready_voc, capsys):
    shutil.rmtree(ready_voc / "VOCdevkit/VOC2012/SegmentationClassAug")
    mat = ready_voc / f"benchmark_RELEASE/dataset/cls/{EXTRA[0]}.mat"
    mat.write_bytes(mat.read_bytes()[:300])
    assert not prepare("voc", ready_voc)
    mends(capsys, f"{mat}: cannot be read (")
    mat.unlink()
    assert prepare("voc", ready_voc)


def test_official_lists_are_told_and_tried(ready_voc, capsys):
    for name, listed in (
        ("2_labeled_0", EXTRA),
        ("2_unlabeled_0", TRAIN),
        ("2_labeled_1", TRAIN),
        ("4_labeled_0", TRAIN),
    ):
        (ready_voc / LISTS / f"{name}.txt").write_text("\n".join(listed))
    (ready_voc / LISTS / "4_unlabeled_0.txt").write_text("2007_999999\n")
    assert prepare("voc", ready_voc)
    lines = [line for line in told(capsys) if "official lists" in line]
    assert "4_unlabeled_0.txt: 2007_999999 is no training image" in lines[0]
    assert "2_unlabeled_1.txt: no such list, but 2_labeled_1.txt is there" in lines[1]
    assert "1/2: 0 (data.labels: data.split_id); other splits are drawn by seed" in lines[2]


def test_the_published_counts_are_those_of_the_field():
    assert COUNTS == {"train": 1464, "val": 1449, "trainaug": 10582}
