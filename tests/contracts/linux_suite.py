"""What the kernel's calls do, as far as the runtime's steps rely on it: run by the kernel and by the fake Linux.

Each case is a function of a directory that it may fill; it runs in a process of its own, which is thrown away, and
calls the kernel dictionary as the product does. With the kernel it runs as root in a new mount namespace.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from groundplane.kernel import caps
from groundplane.kernel.calls import files, ids
from groundplane.kernel.calls import mount as m
from groundplane.kernel.calls import process as p
from groundplane.kernel.errors import KernelError


def _root(root: Path) -> int:
    """The directory as a mount of its own, as `PrepareRoot` makes it."""
    tree = m.open_tree(m.AT_FDCWD, str(root), recursive=True)
    m.mount_setattr(tree, propagation=m.MS_PRIVATE)
    m.attach(tree, m.AT_FDCWD, str(root))
    return tree


def _refused(number: int, call: object, *arguments: object, **named: object) -> None:
    with pytest.raises(KernelError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    assert caught.value.errno == number, caught.value


def a_mount_is_made_and_then_attached(root: Path) -> None:
    at = _root(root)
    fd = m.fsmount("tmpfs", "tmpfs", ["mode=755", "size=1m"], m.MOUNT_ATTR_NOSUID)
    os.mkdir("inside", dir_fd=fd)
    place = files.make_directories(at, "/over/there")
    m.attach(fd, place)
    os.close(files.open_in_root(at, "/over/there/inside"))
    assert not (root / "over/there/inside").is_symlink()
    assert stat.S_ISDIR(os.fstat(files.make_directories(at, "/over/there/inside/deep")).st_mode)


def what_lies_on_top_hides_what_is_below(root: Path) -> None:
    (root / "place").mkdir()
    (root / "place/below").touch()
    at = _root(root)
    m.attach(m.fsmount("tmpfs", "tmpfs"), files.open_in_root(at, "/place"))
    _refused(errno.ENOENT, files.open_in_root, at, "/place/below")


def a_bind_shows_the_same_files(root: Path) -> None:
    (root / "source").mkdir()
    (root / "source/file").write_text("x")
    at = _root(root)
    tree = m.open_tree(m.AT_FDCWD, str(root / "source"), recursive=True)
    m.attach(tree, files.make_directories(at, "/target"))
    fd = files.open_in_root(at, "/target/file", os.O_RDONLY)
    assert os.read(fd, 10) == b"x"


def a_file_is_bound_on_a_file_and_not_on_a_directory(root: Path) -> None:
    (root / "file").touch()
    (root / "directory").mkdir()
    at = _root(root)
    tree = m.open_tree(m.AT_FDCWD, str(root / "file"), recursive=False)
    _refused(errno.EINVAL, m.attach, tree, files.open_in_root(at, "/directory"))
    m.attach(tree, files.make_file(at, "/new/place"))
    assert stat.S_ISREG(os.fstat(files.open_in_root(at, "/new/place")).st_mode)


def links_do_not_lead_out(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "absolute").symlink_to("/etc")
    (root / "climbing").symlink_to("../../../../../etc")
    (root / "loop").symlink_to("loop")
    at = _root(root)
    inside = (root / "etc").stat().st_ino
    for name in ("/absolute", "/climbing", "/etc/../../../etc", "/absolute/../etc"):
        fd = files.open_in_root(at, name)
        assert os.fstat(fd).st_ino == inside, name
    _refused(errno.ELOOP, files.open_in_root, at, "/loop")
    assert stat.S_ISLNK(os.fstat(files.open_in_root(at, "/absolute", os.O_PATH | os.O_NOFOLLOW)).st_mode)


def the_last_mount_attached_is_the_one_that_is_seen(root: Path) -> None:
    at = _root(root)
    for name in ("first", "second"):
        fd = m.fsmount("tmpfs", name)
        os.mkdir(name, dir_fd=fd)
        m.attach(fd, files.make_directories(at, "/place"))
    os.close(files.open_in_root(at, "/place/second"))
    _refused(errno.ENOENT, files.open_in_root, at, "/place/first")


def kinds_of_file_systems_are_known_by_their_number(root: Path) -> None:
    at = _root(root)
    m.attach(m.fsmount("proc", "proc"), files.make_directories(at, "/proc"))
    assert files.is_type(files.open_in_root(at, "/proc"), files.PROC_SUPER_MAGIC)
    assert files.is_type(files.open_in_root(at, "/proc/sys/kernel"), files.PROC_SUPER_MAGIC)
    assert not files.is_type(files.open_in_root(at, "/"), files.PROC_SUPER_MAGIC)


def wrong_file_systems_and_options_are_refused(root: Path) -> None:
    _refused(errno.ENODEV, m.fsmount, "nofs")
    _refused(errno.EINVAL, m.fsmount, "tmpfs", "tmpfs", ["size=lots"])
    _refused(errno.ENOENT, m.open_tree, m.AT_FDCWD, str(root / "absent"), recursive=False)


def what_is_unbindable_is_not_bound(root: Path) -> None:
    at = _root(root)
    m.mount_setattr(at, propagation=m.MS_UNBINDABLE)
    _refused(errno.EINVAL, m.open_tree, at, "", recursive=False)


def a_root_is_swapped_and_the_old_one_let_go(root: Path) -> None:
    at = _root(root)
    os.fchdir(at)
    m.pivot_root(".", ".")
    m.umount2(".", m.MNT_DETACH)
    m.attach(m.fsmount("tmpfs", "tmpfs"), files.make_directories(at, "/after"))
    os.close(files.open_in_root(at, "/after"))


def nodes_are_made_once(root: Path) -> None:
    at = _root(root)
    directory = files.make_directories(at, "/dev")
    files.mknodat(directory, "null", stat.S_IFCHR | 0o666, 1, 3)
    info = os.fstat(files.open_in_root(at, "/dev/null"))
    assert stat.S_ISCHR(info.st_mode)
    assert info.st_rdev == os.makedev(1, 3)
    _refused(errno.EEXIST, files.mknodat, directory, "null", stat.S_IFCHR | 0o666, 1, 3)


def names_have_a_length(root: Path) -> None:
    p.unshare(p.CLONE_NEWUTS)
    ids.sethostname("box")
    ids.setdomainname("example")
    _refused(errno.EINVAL, ids.sethostname, "x" * 65)


def a_user_keeps_only_what_it_asked_to_keep(root: Path) -> None:
    one = 1 << caps.NUMBERS["CAP_KILL"]
    caps.limit_bounding(one, 1)
    p.set_keep_caps(1)
    ids.setgroups([5])
    ids.setresgid(1001)
    ids.setresuid(1000)
    p.set_keep_caps(0)
    caps.capset(one, one, one)
    caps.set_ambient(one, 1)
    _refused(errno.EPERM, p.raise_ambient, caps.NUMBERS["CAP_CHOWN"])
    _refused(errno.EPERM, ids.setresuid, 0)


def effective_capabilities_are_permitted_ones(root: Path) -> None:
    _refused(errno.EPERM, caps.capset, 1 << caps.NUMBERS["CAP_KILL"], 0, 0)


CASES = [
    a_mount_is_made_and_then_attached,
    what_lies_on_top_hides_what_is_below,
    a_bind_shows_the_same_files,
    a_file_is_bound_on_a_file_and_not_on_a_directory,
    links_do_not_lead_out,
    the_last_mount_attached_is_the_one_that_is_seen,
    kinds_of_file_systems_are_known_by_their_number,
    wrong_file_systems_and_options_are_refused,
    what_is_unbindable_is_not_bound,
    a_root_is_swapped_and_the_old_one_let_go,
    nodes_are_made_once,
    names_have_a_length,
    a_user_keeps_only_what_it_asked_to_keep,
    effective_capabilities_are_permitted_ones,
]
