"""The extractor against hostile and odd layers, on a real file system."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from tests.fakes.images import directory, hard_link, member, symlink, tar

from groundplane.engine.snapshots.contract import SnapshotError
from groundplane.engine.snapshots.trees import remove_tree, tree_size
from groundplane.engine.snapshots.unpack import unpack
from groundplane.oci.image import ImageDocumentError
from groundplane.oci.image_layer import LayerReader

pytestmark = pytest.mark.needs("root")


def extract(where: Path, *members: tuple[tarfile.TarInfo, bytes], lowers: tuple[Path, ...] = ()) -> Path:
    target = where / f"layer{len(list(where.iterdir()))}"
    target.mkdir()
    unpack(LayerReader(io.BytesIO(tar(*members)).read), str(target), [str(lower) for lower in lowers])
    return target


def is_whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path)


def test_every_kind_of_member(tmp_path: Path) -> None:
    capability = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00 \x00\x00" + "\x00" * 12}
    root = extract(
        tmp_path,
        directory("./", 0o711),
        directory("d", 0o1777, mtime=100),
        member("d/file", b"data", mode=0o4755, uid=7, gid=8, mtime=200),
        symlink("d/link", "/etc/passwd"),
        hard_link("d/hard", "d/file"),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        member("pipe", type=tarfile.FIFOTYPE, mode=0o600),
        member("ping", b"x", mode=0o755, pax_headers=capability),
        member("no/parents/here", b"x"),
    )
    file = (root / "d/file").stat()
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_gid, file.st_mtime) == (0o4755, 7, 8, 200)
    assert (root / "d/hard").stat().st_ino == file.st_ino
    assert os.readlink(root / "d/link") == "/etc/passwd"
    assert stat.S_IMODE(root.stat().st_mode) == 0o711
    assert (stat.S_IMODE((root / "d").stat().st_mode), (root / "d").stat().st_mtime) == (0o1777, 100)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3)
    assert stat.S_ISFIFO((root / "pipe").stat().st_mode)
    assert os.getxattr(root / "ping", "security.capability")[:4] == b"\1\0\0\2"
    assert stat.S_IMODE((root / "no").stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "name", ["../escaped", "/../escaped", "a/../../escaped", "a/../b", "./../escaped", "../../../../../../tmp/escaped"]
)
def test_names_cannot_lead_out(tmp_path: Path, name: str) -> None:
    (tmp_path / "inner").mkdir()
    for members in ([member(name, b"x")], [directory(name)], [symlink(name, "x")], [hard_link("a", name)]):
        with pytest.raises(ImageDocumentError, match="leads out"):
            extract(tmp_path / "inner", *members)
    assert sorted(os.listdir(tmp_path)) == ["inner"]


def test_absolute_names_and_links_stay_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "in").mkdir()
    root = extract(
        tmp_path / "in",
        member("/absolute", b"x"),
        symlink("up", "../../outside"),
        symlink("abs", str(outside)),
        symlink("loop", "loop"),
        member("abs/file", b"caught"),
        member("fine", b"y"),
    )
    assert (root / "absolute").read_bytes() == b"x"
    assert (root / str(outside).lstrip("/") / "file").read_bytes() == b"caught"
    assert list(outside.iterdir()) == []
    with pytest.raises(SnapshotError, match="symbolic links"):
        extract(tmp_path / "in", symlink("loop", "loop"), member("loop/file", b"x"))


def test_links_are_never_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / "in").mkdir()
    root = extract(
        tmp_path / "in", symlink("f", str(victim)), member("f", b"new"), symlink("g", str(victim)), directory("g")
    )
    assert victim.read_bytes() == b"untouched"
    assert (root / "f").read_bytes() == b"new" and not (root / "f").is_symlink()
    assert (root / "g").is_dir() and not (root / "g").is_symlink()


def test_hard_links_do_not_follow(tmp_path: Path) -> None:
    root = extract(tmp_path, symlink("l", "/etc/passwd"), hard_link("h", "l"))
    assert (root / "h").is_symlink()
    with pytest.raises(ImageDocumentError, match="does not exist"):
        extract(tmp_path, hard_link("h", "etc/passwd"))
    with pytest.raises((SnapshotError, ImageDocumentError)):
        extract(tmp_path, hard_link("h", "h"))
    with pytest.raises(SnapshotError):
        extract(tmp_path, directory("d"), hard_link("h", "d"))


def test_later_entries_win(tmp_path: Path) -> None:
    root = extract(
        tmp_path,
        member("a", b"1"),
        member("a", b"22"),
        directory("d"),
        member("d/x", b"x"),
        directory("d/sub"),
        member("d/sub/deep", b"x"),
        member("d", b"a file now"),
        member("e", b"x"),
        directory("e"),
        member("e/y", b"y"),
    )
    assert (root / "a").read_bytes() == b"22"
    assert (root / "d").read_bytes() == b"a file now"
    assert (root / "e/y").read_bytes() == b"y"
    assert sorted(os.listdir(tmp_path)) == [root.name]  # nothing was put aside for good


def test_a_file_is_no_parent(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="Not a directory"):
        extract(tmp_path, member("a", b""), member("a/b", b""))


def test_whiteouts_become_overlays(tmp_path: Path) -> None:
    lower = extract(
        tmp_path, directory("d"), member("d/x", b"x"), directory("e"), member("e/y", b"y"), member("f", b"f")
    )
    upper = extract(
        tmp_path,
        member("d/.wh.x"),
        member("e/.wh..wh..opq"),
        member("e/new", b"new"),
        member(".wh.f"),
        directory("f"),
        member(".wh..wh.plnk"),
        member("own", b"own"),
        member(".wh.own"),
        lowers=(lower,),
    )
    assert is_whiteout(upper / "d/x")
    assert is_opaque(upper / "e") and (upper / "e/new").read_bytes() == b"new"
    assert (upper / "f").is_dir() and is_opaque(upper / "f")
    assert (upper / "own").read_bytes() == b"own"
    assert not (upper / ".wh..wh.plnk").exists()


def test_whiteouts_in_the_lowest_layer_hide_nothing(tmp_path: Path) -> None:
    assert os.listdir(extract(tmp_path, member(".wh.x"))) == []


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.."])
def test_whiteouts_of_nothing_are_refused(tmp_path: Path, name: str) -> None:
    lower = extract(tmp_path, directory("d"))
    with pytest.raises(ImageDocumentError, match="names nothing"):
        extract(tmp_path, member(name), lowers=(lower,))


def test_left_out_parents_are_as_below(tmp_path: Path) -> None:
    lower = extract(tmp_path, directory("tmp", 0o1777, uid=5), directory("tmp/x", 0o700))
    upper = extract(tmp_path, member("tmp/x/file", b"x"), lowers=(lower,))
    assert (stat.S_IMODE((upper / "tmp").stat().st_mode), (upper / "tmp").stat().st_uid) == (0o1777, 5)
    assert stat.S_IMODE((upper / "tmp/x").stat().st_mode) == 0o700


def test_hard_link_to_a_lower_layer_is_a_copy(tmp_path: Path) -> None:
    lower = extract(tmp_path, member("a", b"below", mode=0o640, uid=3))
    upper = extract(tmp_path, hard_link("b", "a"), lowers=(lower,))
    assert (upper / "b").read_bytes() == b"below"
    assert (stat.S_IMODE((upper / "b").stat().st_mode), (upper / "b").stat().st_uid) == (0o640, 3)


def test_attributes_that_steer_the_kernel_are_left_out(tmp_path: Path) -> None:
    names = (
        "trusted.overlay.redirect",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "security.selinux",
        "trusted.x",
    )
    records = {f"SCHILY.xattr.{name}": "/etc" for name in names}
    root = extract(tmp_path, directory("d", pax_headers=records), member("f", b"", pax_headers=records))
    assert os.listxattr(root / "d") == os.listxattr(root / "f") == []


def test_trees_of_any_depth_are_removed(tmp_path: Path) -> None:
    """Deeper than Python's recursion limit, its file descriptors, and PATH_MAX."""
    top = tmp_path / "deep"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    assert tree_size(str(top)) == 0
    remove_tree(str(top))
    remove_tree(str(top))
    assert os.listdir(tmp_path) == []
