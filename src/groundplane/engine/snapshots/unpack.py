"""Unpacking one layer's tar to a directory that overlay can use as a lower layer.

The tar is hostile: its names may lead out, its links may point anywhere, its entries may contradict each other. Every
parent directory is opened by the kernel with the layer's directory as root (`open_in_root`, openat2(2)), and the last
component is only ever touched by calls that do not follow links, so nothing outside can be reached; a name with `..`
is refused.

What the image specification calls whiteouts (`.wh.NAME`, `.wh..wh..opq`: layer.md) becomes what overlay calls
whiteouts (a 0:0 character device, the attribute `trusted.overlay.opaque`: kernel Documentation/filesystems/
overlayfs.rst). A layer is unpacked alone, but an entry may lean on the layers below: a parent that the tar does not
carry gets the owner and mode it has below, and a hard link to a file of a lower layer becomes a copy of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from groundplane.engine.snapshots.contract import SnapshotError
from groundplane.engine.snapshots.trees import remove_tree
from groundplane.kernel.calls.files import make_directories, mknodat, open_in_root
from groundplane.kernel.errors import KernelError
from groundplane.oci.image import ImageDocumentError
from groundplane.oci.image_layer import OPAQUE, WHITEOUT, Entry, Kind, LayerReader

_OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
_NODES = {Kind.CHAR: stat.S_IFCHR, Kind.BLOCK_DEVICE: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
_OPEN_PARENTS = 64  # descriptors of directories kept open; tars go directory by directory


def unpack(reader: LayerReader, target: str, lowers: Sequence[str]) -> None:
    """Unpack all entries to `target`, an empty directory; `lowers` are the layers below, topmost first.

    Raises SnapshotError, ImageDocumentError; `target` is then left to the caller to delete.
    """
    with _Unpacker(target, lowers) as unpacker:
        while (entry := reader.next()) is not None:
            try:
                unpacker.add(entry, reader)
            except (OSError, KernelError) as error:
                raise SnapshotError(f"member {entry.name!r}: {_reason(error)}") from error
        unpacker.stamp_directories()


def _reason(error: OSError | KernelError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


class _Unpacker:
    def __init__(self, target: str, lowers: Sequence[str]) -> None:
        self._target = target
        self._root = os.open(target, _DIRECTORY | os.O_CLOEXEC)
        self._lowers = [os.open(lower, _DIRECTORY | os.O_CLOEXEC) for lower in lowers]
        self._parents: dict[str, int] = {}
        self._whiteouts: set[str] = set()
        self._stamps: dict[str, int] = {}

    def __enter__(self) -> _Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_parents()
        for fd in (self._root, *self._lowers):
            os.close(fd)

    def add(self, entry: Entry, reader: LayerReader) -> None:
        path = _clean(entry.name)
        directory, _, name = path.rpartition("/")
        if name.startswith(WHITEOUT):
            self._whiteout(directory, name)
        elif not path:
            if entry.kind is not Kind.DIRECTORY:
                raise ImageDocumentError(f"layer: the member {entry.name!r} would replace the root directory")
            os.chown(self._root, entry.uid, entry.gid)
            os.chmod(self._root, entry.mode)
            self._stamps[""] = entry.mtime
        else:
            parent = self._parent(directory)
            if entry.kind is Kind.DIRECTORY:
                self._directory(parent, path, name, entry)
            else:
                self._other(parent, path, name, entry, reader)

    def stamp_directories(self) -> None:
        """Set the directories' times, last, because each entry made inside changed them."""
        for path, mtime in self._stamps.items():
            try:
                with self._opened(path) as fd:
                    os.utime(fd, (mtime, mtime))
            except KernelError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # replaced by a later entry
                    raise

    # Each kind

    def _directory(self, parent: int, path: str, name: str, entry: Entry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._clear(parent, path, name)
                os.mkdir(name, 0o700, dir_fd=parent)
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            _set_attributes(fd, entry)
            if path in self._whiteouts:  # removed and made anew: what is below must not shine through
                os.setxattr(fd, _OPAQUE_ATTRIBUTE, b"y")
        finally:
            os.close(fd)
        self._stamps[path] = entry.mtime

    def _other(self, parent: int, path: str, name: str, entry: Entry, reader: LayerReader) -> None:
        try:
            self._make(parent, name, entry, reader)
        except (FileExistsError, KernelError) as error:
            if error.errno != errno.EEXIST or (entry.kind is Kind.HARD_LINK and _clean(entry.link) == path):
                raise
            self._clear(parent, path, name)
            self._make(parent, name, entry, reader)

    def _make(self, parent: int, name: str, entry: Entry, reader: LayerReader) -> None:
        if entry.kind is Kind.FILE:
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent
            )
            try:
                for piece in reader.data():
                    _write_all(fd, piece)
                os.fchown(fd, entry.uid, entry.gid)
                os.fchmod(fd, entry.mode)  # after chown(2), which takes set-user-id bits away
                _set_attributes(fd, entry)
                os.utime(fd, (entry.mtime, entry.mtime))
            finally:
                os.close(fd)
            return
        if entry.kind is Kind.HARD_LINK:
            self._hard_link(parent, name, entry)
            return
        if entry.kind is Kind.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
        else:
            mknodat(parent, name, _NODES[entry.kind] | 0o600, entry.major, entry.minor)
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=parent)  # a node that was just made: not a link
        os.utime(name, (entry.mtime, entry.mtime), dir_fd=parent, follow_symlinks=False)

    def _hard_link(self, parent: int, name: str, entry: Entry) -> None:
        source = _clean(entry.link)
        directory, _, base = source.rpartition("/")
        try:
            with self._opened(directory) as fd:
                os.link(base, name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=False)
                return
        except (FileNotFoundError, KernelError) as error:
            if error.errno != errno.ENOENT:
                raise
        for lower in self._lowers:
            try:
                fd = open_in_root(lower, source, os.O_PATH | os.O_NOFOLLOW)
            except KernelError:
                continue
            try:
                _copy_up(fd, parent, name)
            finally:
                os.close(fd)
            return
        raise ImageDocumentError(f"layer: {entry.name!r} is a hard link to {entry.link!r}, which does not exist")

    def _whiteout(self, directory: str, name: str) -> None:
        if name != OPAQUE and name.startswith(WHITEOUT * 2):
            return  # AUFS's own records (.wh..wh.plnk, .wh..wh.aufs): nothing to remove
        if not self._lowers:
            return  # nothing below to hide; overlay would show the device to whoever lists the lowest layer
        parent = self._parent(directory)
        if name == OPAQUE:
            os.setxattr(parent, _OPAQUE_ATTRIBUTE, b"y")
            return
        hidden = name.removeprefix(WHITEOUT)
        if hidden in ("", ".", ".."):
            raise ImageDocumentError(f"layer: the whiteout {name!r} names nothing")
        path = f"{directory}/{hidden}".lstrip("/")
        self._whiteouts.add(path)
        try:
            mknodat(parent, hidden, stat.S_IFCHR | 0o600)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            # layer.md: a whiteout hides what is below, never what this layer itself brings
            if stat.S_ISDIR(os.lstat(hidden, dir_fd=parent).st_mode):
                with self._opened(path) as fd:
                    os.setxattr(fd, _OPAQUE_ATTRIBUTE, b"y")

    def _clear(self, parent: int, path: str, name: str) -> None:
        """Remove what an earlier entry of the same tar made: the later one wins, as with tar(1)."""
        self._close_parents()  # a path through it may lead elsewhere from now on
        if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        below = path + "/"
        self._stamps = {p: m for p, m in self._stamps.items() if p != path and not p.startswith(below)}
        # Beside the layer, where no entry can have the name.
        aside = f"{self._target}.cleared"
        os.rename(name, aside, src_dir_fd=parent)
        remove_tree(aside)

    # Parent directories

    def _parent(self, path: str) -> int:
        """A descriptor of the directory `path`, which is made where it is missing. Owned by the cache."""
        if not path:
            return self._root
        if (fd := self._parents.get(path)) is not None:
            return fd
        try:
            fd = open_in_root(self._root, path, _DIRECTORY)
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
            fd = self._make_parent(path)
        if len(self._parents) >= _OPEN_PARENTS:
            self._close_parents()
        self._parents[path] = fd
        return fd

    def _make_parent(self, path: str) -> int:
        """Make a directory that the tar leaves out, with the owner and mode that it has in a lower layer."""
        directory, _, name = path.rpartition("/")
        self._parent(directory)
        with self._opened(directory) as above:
            below = self._lower_directory(path)
            try:
                os.mkdir(name, 0o755, dir_fd=above)
            except FileExistsError:  # a link that leads to nothing yet: what it leads to is made, inside the root
                os.close(make_directories(self._root, path))
                return open_in_root(self._root, path, _DIRECTORY)
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
            os.fchown(fd, below.st_uid if below else 0, below.st_gid if below else 0)
            os.fchmod(fd, stat.S_IMODE(below.st_mode) if below else 0o755)
            if below:
                self._stamps.setdefault(path, int(below.st_mtime))
            return fd

    def _lower_directory(self, path: str) -> os.stat_result | None:
        for lower in self._lowers:
            try:
                fd = open_in_root(lower, path, os.O_PATH | os.O_DIRECTORY)
            except KernelError:
                continue
            try:
                return os.fstat(fd)
            finally:
                os.close(fd)
        return None

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """A descriptor of a directory that exists, for the length of the block."""
        fd = open_in_root(self._root, path, _DIRECTORY) if path else os.dup(self._root)
        try:
            yield fd
        finally:
            os.close(fd)

    def _close_parents(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()


def _clean(name: str) -> str:
    """`./usr//bin/` as `usr/bin`; the root is empty. Raises ImageDocumentError where a part is `..`."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ImageDocumentError(f"layer: the member name {name!r} leads out of the image with `..`")
    return "/".join(parts)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy_up(place: int, parent: int, name: str) -> None:
    """Copy the file that `place` (O_PATH) names: opened only once it is known to be one, since devices act on it."""
    found = os.fstat(place)
    if not stat.S_ISREG(found.st_mode):
        raise ImageDocumentError("layer: a hard link to something that is not a file")
    source = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _copy_file(source, found, parent, name)
    finally:
        os.close(source)


def _copy_file(source: int, found: os.stat_result, parent: int, name: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        while piece := os.read(source, 1 << 20):
            _write_all(fd, piece)
        os.fchown(fd, found.st_uid, found.st_gid)
        os.fchmod(fd, stat.S_IMODE(found.st_mode))
        for attribute in os.listxattr(source):
            if _allowed(attribute):
                os.setxattr(fd, attribute, os.getxattr(source, attribute))
        os.utime(fd, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(fd)


def _set_attributes(fd: int, entry: Entry) -> None:
    for name, value in entry.xattrs.items():
        if not _allowed(name):
            continue
        try:
            os.setxattr(fd, name, value)
        except OSError as error:
            # tmpfs has no user.* (before 6.6), some file systems no ACLs: containerd and Docker go on, too
            if error.errno != errno.EOPNOTSUPP:
                raise


def _allowed(name: str) -> bool:
    """Attributes that belong to a file's content. Overlay's own would steer the kernel; labels are the host's."""
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name in ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
