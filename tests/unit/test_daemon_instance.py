"""Directories of an instance: what belongs to somebody else is neither taken nor removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings, load
from groundplane.daemon import leaving
from groundplane.daemon.instance import Instance
from groundplane.kernel.calls import mount


def settings(place: Path) -> Settings:
    return Settings(root=str(place / "root"), run=str(place / "run"))


def test_directories_are_made_and_known_again_and_removed(tmp_path: Path) -> None:
    given = settings(tmp_path)
    Instance(given).make_directories()
    (tmp_path / "run" / "start.lock").touch()
    Instance(given).make_directories()
    leaving.purge(given)
    assert list(tmp_path.iterdir()) == []
    leaving.purge(given)  # once more: there is nothing


@pytest.mark.parametrize("which", ["root", "run"])
def test_files_of_others_stay(tmp_path: Path, which: str) -> None:
    place = tmp_path / which
    place.mkdir(mode=0o700)
    (place / "letter").write_text("dear")
    for work in (lambda: Instance(settings(tmp_path)).make_directories(), lambda: leaving.purge(settings(tmp_path))):
        with pytest.raises(GroundError, match="files of others are in it"):
            work()
        assert [p.name for p in place.iterdir()] == ["letter"]
        assert place.stat().st_mode & 0o777 == 0o700


def test_an_empty_directory_and_a_store_alone_are_taken(tmp_path: Path) -> None:
    (tmp_path / "root" / "store").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    Instance(settings(tmp_path)).make_directories()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(GroundError, match=r"cannot make the directory .*/root: File exists"):
        Instance(settings(tmp_path)).make_directories()


def test_a_record_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    given = settings(tmp_path)
    instance = Instance(given)
    instance.make_directories()
    (tmp_path / "root" / "platform.json").mkdir()
    with pytest.raises(GroundError, match=r"platform\.json cannot be written: Is a directory"):
        instance.save(("engine",))


def test_mount_points_of_any_name_are_known(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    names = [b"/a", b"/r/in\\040side", b"/r", b"/rest", b"/r/\xff\\134040\\012"]
    table.write_bytes(b"".join(b"25 1 0:22 / %s rw - tmpfs tmpfs rw\n" % name for name in names))
    assert mount.points_below("/r", str(table)) == ["/r/in side", "/r", "/r/\udcff\\040\n"]
    assert len(mount.points_below("/", str(table))) == 5


def test_purge_reaches_into_no_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the root's name has a blank, and was named through a symbolic link."""
    (tmp_path / "a disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a disk")
    given = load({"GROUND_CONFIG": "/nowhere"}, root=str(tmp_path / "link" / "root"), run=str(tmp_path / "run"))
    assert given.root == str(tmp_path / "a disk" / "root")
    Instance(given).make_directories()
    point = str(tmp_path / "a disk" / "root" / "mine")
    monkeypatch.setattr(mount, "points_below", lambda base: [point] if base == given.root else [])
    with pytest.raises(GroundError, match="mine is still mounted"):
        leaving.purge(given)
    assert (tmp_path / "a disk" / "root" / "owner.lock").exists()
