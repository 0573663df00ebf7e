"""Write a volume's files so that a reader sees either all of the old ones or all of the new ones.

kubelet's AtomicWriter (pkg/volume/util/atomic_writer.go); the layout is visible to applications and therefore kept:

    ..2026_01_31_12_00_00.123456789/   the files themselves
    ..data -> ..2026_01_31_…           swapped by one rename(2)
    key -> ..data/key                  one link for each first path component
"""

from __future__ import annotations

import os
import shutil
import time

from groundplane.node.volumes.payload import File, Payload

_DATA = "..data"


def write(directory: str, files: Payload, group: int | None = None) -> bool:
    """Make `directory` show exactly `files`; whether anything changed. `group` is the pod's fsGroup.

    Whatever a writer that was killed has left is finished or taken away: `..data` says which files are the right ones.
    """
    current = os.path.join(directory, _DATA)
    _sweep(directory)
    changed = not (os.path.islink(current) and _same(os.path.join(directory, os.readlink(current)), files))
    if changed:
        nanoseconds = time.time_ns()
        stamp = time.strftime("..%Y_%m_%d_%H_%M_%S", time.gmtime(nanoseconds // 10**9)) + f".{nanoseconds % 10**9:09d}"
        fresh = os.path.join(directory, stamp)
        os.mkdir(fresh, 0o755)
        for path, file in files.items():
            _put(fresh, path, file, group)
        os.symlink(stamp, current + "_tmp")
        os.rename(current + "_tmp", current)
    _link(directory, {path.split("/", 1)[0] for path in files})
    _sweep(directory)
    return changed


def _sweep(directory: str) -> None:
    """Remove former files, and what never became current."""
    current = os.path.join(directory, _DATA)
    kept = {_DATA, os.readlink(current)} if os.path.islink(current) else set()
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if not name.startswith("..") or name in kept:
            continue
        if os.path.islink(path):
            os.unlink(path)
        else:
            shutil.rmtree(path)


def _put(base: str, path: str, file_of: File, group: int | None) -> None:
    target = os.path.join(base, path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    mode = file_of.mode if group is None else file_of.mode | 0o440  # volume_linux.go: the group may read, too
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(file_of.data)
        if file_of.owner is not None or group is not None:
            os.fchown(fd, -1 if file_of.owner is None else file_of.owner, -1 if group is None else group)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _link(directory: str, names: set[str]) -> None:
    for name in names:
        link = os.path.join(directory, name)
        if not os.path.islink(link):
            os.symlink(os.path.join(_DATA, name), link)
    for name in os.listdir(directory):
        if not name.startswith("..") and name not in names:
            os.unlink(os.path.join(directory, name))


def _same(directory: str, files: Payload) -> bool:
    """Whether the files there are these, byte for byte and mode for mode."""
    found: set[str] = set()
    for parent, _, names in os.walk(directory):
        found.update(os.path.relpath(os.path.join(parent, name), directory) for name in names)
    if found != {os.path.normpath(path) for path in files}:
        return False
    for path, file in files.items():
        try:
            with open(os.path.join(directory, path), "rb") as existing:
                status = os.fstat(existing.fileno())
                if existing.read() != file.data or status.st_mode & 0o777 & ~0o440 != file.mode & ~0o440:
                    return False
                if file.owner is not None and status.st_uid != file.owner:
                    return False
        except OSError:
            return False
    return True
