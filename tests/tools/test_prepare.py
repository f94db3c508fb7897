"""`eln-kit data voc | cityscapes` on small trees and archives in the exact official layout."""

import hashlib
import io
import shutil
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from published import EXTRA, FRAMES, IMAGES, MASKS, TAR, TGZ, TRAIN, TRAINAUG, VAL, files, mends, put, sbd_tree, told
from trees import cityscapes, cityscapes_tree, ids, voc, write_image

from eln_kit import cli
from eln_kit.data import read_mask
from eln_kit.faults import DataError
from eln_kit.tools import prepare as prepares
from eln_kit.tools.prepare import prepare

LISTS = "VOCdevkit/VOC2012/ImageSets/Segmentation"
OFFICIAL = prepares.VOC_COUNTS, prepares.CITYSCAPES_COUNTS
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
    for item in dataset.train:
        values = sorted(set(read_mask(item, dataset).ravel().tolist()))
        assert values == ([0, 15, 255] if item.id in TRAIN else [0, 20]), "VOC's own masks, and SBD's of other images"
    of_sbd = sorted(path.name for path in (root / "benchmark_RELEASE/dataset").iterdir())
    assert of_sbd == ["cls", "train.txt", "val.txt"], "only what is read"
    assert not [name for name in files(root) if "/." in name or name.startswith(".")]


def test_what_is_ready_is_left_alone_and_needs_no_archive(ready_voc, capsys):
    for archive in (TAR, TGZ):
        (ready_voc / archive).unlink()
    shutil.rmtree(ready_voc / "benchmark_RELEASE")
    before = files(ready_voc)
    assert prepare("voc", ready_voc)
    assert files(ready_voc) == before
    assert told(capsys)[-1] == f"ready: set data.root to {ready_voc}"


def test_torchvisions_own_place_of_sbd_is_found(tmp_path, published):
    root = put(tmp_path, published, TAR, TGZ)
    sbd_tree(root / "sbd")
    (root / TGZ).unlink()
    assert prepare("voc", root)


def test_a_folder_that_is_not_there_is_a_line_and_is_not_made(tmp_path, capsys):
    assert not prepare("cityscapes", tmp_path / "none")
    assert "none: no such folder; make it, or correct --root" in told(capsys)[0]
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("train", lambda ids: ids[:-1], "1 of 2 images with masks"),
        ("val", lambda ids: ids[:-1], "1 of 2 images with masks"),
        ("trainaug", lambda ids: ids[:-1], "3 of 4 images with masks"),
        ("train", lambda ids: [*ids, "x"], f"3 of 2 images with masks, JPEGImages/x.jpg is missing: put {TAR}"),
    ],
)
def test_a_list_with_another_count_or_an_absent_image_is_a_line(ready_voc, name, change, said, capsys):
    file = ready_voc / LISTS / f"{name}.txt"
    file.write_text("\n".join(change(file.read_text().split())))
    (ready_voc / TAR).unlink()
    assert not prepare("voc", ready_voc)
    mends(capsys, said)


def test_a_segmentationclassaug_from_elsewhere_is_enough(ready_voc, published):
    (ready_voc / LISTS / "trainaug.txt").unlink()
    (ready_voc / TGZ).unlink()
    shutil.rmtree(ready_voc / "benchmark_RELEASE")
    aug = ready_voc / "VOCdevkit/VOC2012/SegmentationClassAug"
    shutil.copy(aug / f"{TRAIN[0]}.png", aug / f"{VAL[0]}.png")
    assert prepare("voc", ready_voc)
    assert (ready_voc / LISTS / "trainaug.txt").read_text().split() == TRAINAUG


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
    mends(
        capsys,
        f"1 of 2 images, an image of leftImg8bit/train is missing: put {IMAGES}",
        f"2 of 3 labelIds; mapped to the 19 classes as they are read, a mask of gtFine is missing: put {MASKS}",
    )
    assert prepare("cityscapes", put(ready_cityscapes, published, IMAGES, MASKS))


def test_more_images_than_cityscapes_has_is_a_line(ready_cityscapes, capsys):
    write_image(ready_cityscapes / "leftImg8bit/train/mine/mine_000000_000000_leftImg8bit.png")
    assert not prepare("cityscapes", ready_cityscapes)
    mends(capsys, "3 of 2 images: take out what is too much")


def test_that_tests_masks_are_empty_and_nothing_can_be_downloaded_are_only_notes(ready_cityscapes, capsys):
    cityscapes_tree(ready_cityscapes, {"test": ["berlin_000000_000019"]})
    assert prepare("cityscapes", ready_cityscapes, download=True)
    lines = told(capsys)
    assert lines[0].startswith("note  download       by hand")
    assert "note  test           is not read: its masks are empty, the benchmark keeps the truth" in lines


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("voc", [f"put {TAR} into {{root}}, or add --download"] * 2),
        ("cityscapes", [*[f"put {IMAGES} (from"] * 2, f"a mask of gtFine is missing: put {MASKS} (from"]),
    ],
)
def test_without_archives_each_thing_missing_is_a_line_that_says_what_to_put_where(tmp_path, capsys, name, wanted):
    assert cli.main(["data", name, "--root", str(tmp_path)]) == 1
    mends(capsys, *(words.format(root=tmp_path) for words in wanted))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "archive"), [("voc", TAR), ("voc", TGZ), ("cityscapes", IMAGES), ("cityscapes", MASKS)]
)
@pytest.mark.parametrize("cut", ["halved", "a web page"])
def test_an_archive_that_is_cut_short_or_no_archive_is_named(tmp_path, published, name, archive, cut, capsys):
    others = {"voc": (TAR, TGZ), "cityscapes": (IMAGES, MASKS)}[name]
    file = put(tmp_path, published, *others) / archive
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if cut == "halved" else b"<html>Please log in</html>")
    assert not prepare(name, tmp_path)
    lines = [line for line in told(capsys) if line.startswith("fix")]
    assert lines
    assert all(f"{file} cannot be unpacked (" in line for line in lines), lines
    file.write_bytes(content)
    assert prepare(name, tmp_path)


@pytest.mark.parametrize("name", ["VOCdevkit/VOC2012/../../../out.txt", "/out.txt"])
def test_an_archive_whose_names_lead_out_of_the_folder_is_refused(tmp_path, name, capsys):
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / TAR, "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert not prepare("voc", root)
    assert TAR in told(capsys)[0]
    assert [file.name for file in tmp_path.rglob("*")] == ["root", TAR]


def test_links_in_an_archive_are_not_made(tmp_path, published):
    root = put(tmp_path, published, TAR, TGZ)
    with tarfile.open(root / TAR, "a") as archive:
        link = tarfile.TarInfo("VOCdevkit/VOC2012/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    assert prepare("voc", root)
    assert not (root / "VOCdevkit/VOC2012/link").is_symlink()


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path, published, capsys):
    root = put(tmp_path, published, TAR, TGZ)
    (root / "VOCdevkit").write_text("")
    assert not prepare("voc", root)
    assert "VOCdevkit" in told(capsys)[-2]
    (tmp_path / "file").write_text("")
    assert not prepare("voc", tmp_path / "file", download=True)
    assert f"{tmp_path / 'file'}: File exists; fix that and run this again" in told(capsys)[0]


@pytest.fixture
def site(published, monkeypatch):
    """VOC's archives on a web server of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(published))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("TRAINVAL", "SBD"):
        old = getattr(prepares, name)
        md5 = hashlib.md5((published / old.file).read_bytes()).hexdigest()
        monkeypatch.setattr(prepares, name, old._replace(url=f"{address}/{old.file}", md5=md5))
    yield address
    server.shutdown()
    server.server_close()


def test_with_download_vocs_archives_are_fetched_and_a_cut_one_anew(tmp_path, site, capsys):
    (tmp_path / TAR).write_bytes(b"cut")
    assert cli.main(["data", "voc", "--root", str(tmp_path), "--download"]) == 0
    assert told(capsys)[-1] == f"ready: set data.root to {tmp_path}"


@pytest.mark.parametrize(("fault", "reason"), [("gone", "404"), ("changed", "corrupted")])
def test_a_download_that_fails_is_a_line_that_says_what_to_put_where(
    tmp_path, published, site, monkeypatch, fault, reason, capsys
):
    change = {"url": f"{site}/none.tar"} if fault == "gone" else {"md5": "0" * 32}
    monkeypatch.setattr(prepares, "TRAINVAL", prepares.TRAINVAL._replace(**change))
    assert not prepare("voc", tmp_path, download=True)
    line = next(line for line in told(capsys) if line.startswith("fix"))
    assert "could not be fetched (" in line
    assert reason in line
    assert f"get {TAR} by hand, put it into {tmp_path}" in line
    assert not (tmp_path / TAR).exists()


def test_unpacking_that_is_stopped_leaves_no_half_file_and_starts_again(tmp_path, published, monkeypatch):
    root = put(tmp_path, published, IMAGES, MASKS)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli.main(["data", "cityscapes", "--root", str(root)]) == 130
    assert files(root).keys() == {IMAGES, MASKS}
    assert prepare("cityscapes", root)


def test_the_published_counts_are_those_of_the_field():
    assert OFFICIAL == ({"train": 1464, "val": 1449, "trainaug": 10582}, {"train": 2975, "val": 500})
