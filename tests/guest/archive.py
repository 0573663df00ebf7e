"""An initramfs: the `newc` cpio format that the kernel unpacks.

Documentation/driver-api/early-userspace/buffer-format.rst of the kernel has the grammar.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from groundplane.engine.images.from_host.tree import Node, Tree
from groundplane.oci.image_layer import Kind

_TYPES = {Kind.DIRECTORY: stat.S_IFDIR, Kind.FILE: stat.S_IFREG, Kind.SYMLINK: stat.S_IFLNK}
_CONSOLE = (5, 1)  # Documentation/admin-guide/devices.txt: what the kernel gives /init as its standard streams


def pack(tree: Tree) -> Iterator[bytes]:
    """The archive of a tree, piece by piece: parents before children, everything owned by root."""
    yield from _entry(1, "dev", stat.S_IFDIR | 0o755, 0, b"")
    yield from _entry(2, "dev/console", stat.S_IFCHR | 0o600, 0, b"", _CONSOLE)
    for number, path in enumerate(sorted(tree.nodes), 3):
        node = tree.nodes[path]
        try:
            content = _content(node)
        except FileNotFoundError:
            continue  # a temporary file of somebody who works on the tree: bytecode that is just being written
        if path != "dev":
            yield from _entry(number, path, _TYPES[node.kind] | node.mode, node.mtime, content)
    yield from _entry(0, "TRAILER!!!", 0, 0, b"")


def _content(node: Node) -> bytes:
    if node.kind is Kind.SYMLINK:
        return node.link.encode()
    if not node.source or node.kind is Kind.DIRECTORY:
        return node.data
    with open(node.source, "rb") as f:
        return f.read()


def _entry(
    number: int, name: str, mode: int, mtime: int, content: bytes, device: tuple[int, int] = (0, 0)
) -> Iterator[bytes]:
    encoded = name.encode() + b"\0"
    # ino, mode, uid, gid, nlink, mtime, filesize, major, minor of the file system, then of the device, namesize, check
    fields = (number, mode, 0, 0, 1, mtime, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    yield header + encoded + b"\0" * (-(len(header) + len(encoded)) % 4)
    yield content + b"\0" * (-len(content) % 4)
