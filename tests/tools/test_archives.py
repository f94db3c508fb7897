"""`eln-kit data` with archives that are broken, foreign, stopped halfway or to be fetched."""

import hashlib
import io
import os
import shutil
import tarfile
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from published import IMAGES, MASKS, TAR, TGZ, files, mends, put, told

from eln_kit import cli
from eln_kit.tools.prepare import prepare
from eln_kit.tools.prepare import voc as prepare_voc

pytestmark = pytest.mark.usefixtures("published")  # its small counts


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
    assert all(f"{file} is not a whole archive (" in line and "get it again" in line for line in lines), lines
    file.write_bytes(content)
    assert prepare(name, tmp_path)


def test_another_archive_of_that_name_is_named(tmp_path, published, capsys):
    root = put(tmp_path, published, IMAGES)
    shutil.copy(published / IMAGES, root / MASKS)
    assert not prepare("cityscapes", root)
    mends(capsys, f"{root / MASKS}: holds no gtFine: is it the right archive?")


def test_an_archive_with_another_md5_is_unpacked_with_a_warning(tmp_path, published, capsys):
    assert prepare("voc", put(tmp_path, published, TAR, TGZ))
    notes = [line for line in told(capsys) if line.startswith("note")]
    for archive, line in zip((TAR, TGZ), notes, strict=False):
        assert (
            line
            == f"note  archive        {tmp_path / archive} is not the published one (md5 differs): unpacked and counted"
        )


@pytest.mark.parametrize("name", ["VOCdevkit/VOC2012/../../../out.txt", "/out.txt"])
def test_an_archive_whose_names_lead_out_of_the_folder_is_refused(tmp_path, name, capsys):
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / TAR, "w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert not prepare("voc", root)
    assert f"{root / TAR}: holds {name}, which leads out of the folder" in told(capsys)[1]
    assert [file.name for file in tmp_path.rglob("*")] == ["root", TAR]


def test_links_in_an_archive_are_not_made(tmp_path, published):
    root = put(tmp_path, published, TAR, TGZ)
    with tarfile.open(root / TAR, "a") as archive:
        link = tarfile.TarInfo("VOCdevkit/VOC2012/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    assert prepare("voc", root)
    assert not (root / "VOCdevkit/VOC2012/link").is_symlink()


def test_unpacking_that_is_stopped_leaves_no_half_file_and_goes_on(tmp_path, published, monkeypatch):
    root, copied = put(tmp_path, published, IMAGES, MASKS), []

    def stop_at_the_second(source, target, _):
        copied.append(target.write(source.read(10)))
        if len(copied) == 2:
            raise KeyboardInterrupt
        target.write(source.read())

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", stop_at_the_second)
        assert cli.main(["data", "cityscapes", "--root", str(root)]) == 130
    assert len([name for name in files(root) if name.startswith("leftImg8bit/")]) == 1
    assert prepare("cityscapes", root)


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path, published, capsys):
    root = put(tmp_path, published, TAR, TGZ)
    (root / "VOCdevkit").write_text("")
    assert not prepare("voc", root)
    assert "VOCdevkit" in told(capsys)[-2]
    (tmp_path / "file").write_text("")
    assert not prepare("voc", tmp_path / "file", download=True)
    assert f"{tmp_path / 'file'}: File exists; fix that and run this again" in told(capsys)[0]


def test_a_root_that_cannot_be_written_is_one_line(tmp_path, published, monkeypatch, capsys):
    root = put(tmp_path, published, IMAGES, MASKS)

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "replace", refuse)
    assert not prepare("cityscapes", root)
    mends(capsys, "Permission denied; fix that and run this again")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_root_is_one_line(tmp_path, published, capsys):
    root = put(tmp_path, published, IMAGES, MASKS)
    root.chmod(0o555)
    assert not prepare("cityscapes", root)
    mends(capsys, "Permission denied; fix that and run this again")


@contextmanager
def served(folder: Path):
    """The address of a web server of `folder`, on this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def site(published, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with served(published) as address:
        for archive in ("TRAINVAL", "SBD"):
            old = getattr(prepare_voc, archive)
            md5 = hashlib.md5((published / old.file).read_bytes()).hexdigest()
            monkeypatch.setattr(prepare_voc, archive, replace(old, url=f"{address}/{old.file}", md5=md5))
        yield address


def test_with_download_vocs_archives_are_fetched_and_unpacked(tmp_path, site, capsys):
    assert cli.main(["data", "voc", "--root", str(tmp_path / "new"), "--download"]) == 0
    lines = told(capsys)
    assert lines[-1] == f"ready: set data.root to {tmp_path / 'new'}"
    assert not any("md5" in line for line in lines)
    assert not list((tmp_path / "new").glob(".*"))


def test_with_download_a_cut_archive_is_fetched_anew(tmp_path, published, site):
    root = put(tmp_path, published, TAR, TGZ)
    (root / TAR).write_bytes(b"cut")
    assert prepare("voc", root, download=True)


@pytest.mark.parametrize(("fault", "reason"), [("gone", "404"), ("changed", "corrupted")])
def test_a_download_that_fails_is_a_line_that_says_what_to_put_where(
    tmp_path, published, site, monkeypatch, fault, reason, capsys
):
    change = {"url": f"{site}/none.tar"} if fault == "gone" else {"md5": "0" * 32}
    monkeypatch.setattr(prepare_voc, "TRAINVAL", replace(prepare_voc.TRAINVAL, **change))
    assert not prepare("voc", tmp_path, download=True)
    line = next(line for line in told(capsys) if line.startswith("fix"))
    assert "could not be fetched (" in line
    assert reason in line
    assert f"get {TAR} by hand, put it into {tmp_path} and run this again" in line
    assert not (tmp_path / TAR).exists()


def test_a_server_that_is_not_there_is_one_line(tmp_path, site, monkeypatch, capsys):
    for archive in ("TRAINVAL", "SBD"):
        monkeypatch.setattr(prepare_voc, archive, replace(getattr(prepare_voc, archive), url="http://127.0.0.1:9/x"))
    assert not prepare("voc", tmp_path, download=True)
    mends(capsys, f"get {TAR} by hand", f"get {TGZ} by hand")
