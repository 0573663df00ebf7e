"""Files seen whole or not at all: also when the writer is killed at each of its system calls."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from groundplane.base import files


def test_a_new_file_has_its_mode_whatever_the_umask_and_the_old_one_said(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o644)
    before = os.umask(0o077)
    try:
        files.replace(path, b"new", mode=0o640, durable=True)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["secret"]


def test_what_a_killed_writer_left_is_in_nobodys_way_and_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_bytes(b"half")
    (tmp_path / ".b.new").write_bytes(b"half")
    (tmp_path / "b.new").write_bytes(b"a user's own")
    files.replace(tmp_path / "a", b"whole", durable=False)
    assert (tmp_path / "a").read_bytes() == b"whole"
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a", "b.new"]


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    (tmp_path / ".a.new").symlink_to(victim)
    files.replace(tmp_path / "a", b"mine", durable=False)
    assert victim.read_bytes() == b"kept"
    assert not (tmp_path / "a").is_symlink()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()  # rename(2) of a file over a directory: EISDIR
    with pytest.raises(IsADirectoryError):
        files.replace(tmp_path / "a", b"mine", durable=False)
    assert os.listdir(tmp_path) == ["a"]
