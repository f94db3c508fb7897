import os
import shutil

import pytest

from eln_kit.paths import link


def test_a_file_that_is_linked_to_itself_stays(tmp_path):
    (tmp_path / "a").write_text("x")
    link(tmp_path / "a", tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    link(tmp_path / "b", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "x"


def test_a_copy_that_is_stopped_midway_leaves_what_was_there(tmp_path, monkeypatch):
    def stopped(source, target):
        target.write_text("half")
        raise KeyboardInterrupt

    def no_links(*_):
        raise OSError

    (tmp_path / "a").write_text("new")
    (tmp_path / "b").write_text("old")
    monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", stopped)
        with pytest.raises(KeyboardInterrupt):
            link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "old"
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "new"
