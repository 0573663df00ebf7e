"""The future file tree of a layer: what will be at each path, and which file of the host it comes from.

Nothing is read here but `lstat` and symbolic links. Owners become 0:0, directories that only lead to something get mode
0755, because the host's own (a private /root, a setgid shared directory) say nothing about the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from groundplane.engine.images.from_host.contract import FromHostError
from groundplane.oci.image_layer import Kind

_MAX_LINKS = 40  # path_resolution(7)
# Kernel file systems: their files are not files. /dev by its device number, because it is often a tmpfs.
_KERNEL_ROOTS = ("/proc", "/sys", "/dev")
_KERNEL_PATHS = tuple(f"{path}/" for path in _KERNEL_ROOTS)


@dataclass(frozen=True, slots=True)
class Node:
    """One path of the image. `source` is the host's file; `data` the content of one that we make ourselves."""

    kind: Kind
    mode: int
    mtime: int = 0
    size: int = 0
    link: str = ""
    source: str = ""
    data: bytes = b""
    stamp: tuple[int, ...] = ()  # device, inode, size, mtime, ctime of the source: the same stamp, the same content


class Tree:
    """Paths (without the leading slash) to nodes. `lower` is the tree of the layer below, whose links count too."""

    def __init__(self, lower: Tree | None = None, forbidden: Iterable[str] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self._lower = lower
        self._forbidden = tuple(f"{os.path.realpath(path)}/" for path in forbidden)
        devices = {os.stat(path).st_dev for path in _KERNEL_ROOTS if os.path.isdir(path)}
        self._kernel_devices = devices - {os.stat("/").st_dev}  # a bare /dev of a chroot is an ordinary directory

    def get(self, path: str) -> Node | None:
        """What is at a path in this layer or below; links are not followed."""
        return self.nodes.get(path) or (self._lower.get(path) if self._lower else None)

    # From the host, at the same path

    def add_host(self, path: str) -> str:
        """Put a file of the host at its own path, with every link on the way; returns the real path (with slash)."""
        pending = [part for part in reversed(path.split("/")) if part]
        here = ""
        links = 0
        while pending:
            part = pending.pop()
            if part == ".":
                continue
            if part == "..":
                here = here.rpartition("/")[0]
                continue
            here = f"{here}/{part}"
            node = self.nodes.get(here[1:]) or self._host_node(here)
            if node.kind is Kind.SYMLINK:
                links += 1
                if links > _MAX_LINKS:
                    raise FromHostError(f"{path}: too many levels of symbolic links")
                self.nodes[here[1:]] = node
                pending.extend(p for p in reversed(node.link.split("/")) if p)
                here = "" if node.link.startswith("/") else here.rpartition("/")[0]
            elif node.kind is Kind.DIRECTORY:
                # A private directory that we planned (/root) must let every user through to a program in it.
                if here[1:] not in self.nodes or not node.mode & 0o001:
                    self.nodes[here[1:]] = _PASSAGE
            elif pending:
                raise FromHostError(f"{path}: {here} is not a directory")
            else:
                self.nodes[here[1:]] = node
        return here

    def _host_node(self, path: str) -> Node:
        try:
            return self.read_node(path, os.lstat(path))
        except FileNotFoundError:
            raise FromHostError(f"{path}: there is no such file on this host") from None
        except OSError as error:
            raise FromHostError(f"{path}: {error.strerror}") from error

    def read_node(self, path: str, found: os.stat_result) -> Node:
        """What a file of the host becomes. Raises FromHostError for what an image cannot carry."""
        kind = stat.S_IFMT(found.st_mode)
        if kind == stat.S_IFLNK:
            return Node(Kind.SYMLINK, 0o777, int(found.st_mtime), link=os.readlink(path))
        if found.st_dev in self._kernel_devices or f"{path}/".startswith(_KERNEL_PATHS):
            raise FromHostError(
                f"{path}: it lies in a file system of the kernel; only files of a disk can be in an image"
            )
        if self._forbidden and f"{path}/".startswith(self._forbidden):
            raise FromHostError(f"{path}: this is Groundplane's own state; it cannot be put into an image")
        if kind == stat.S_IFDIR:
            # A directory's own time says when its list of names changed, which is not content: left out.
            return Node(Kind.DIRECTORY, stat.S_IMODE(found.st_mode), source=path)
        if kind == stat.S_IFREG:
            return Node(
                Kind.FILE,
                stat.S_IMODE(found.st_mode),
                int(found.st_mtime),
                size=found.st_size,
                source=path,
                stamp=(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns),
            )
        names = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a character device"}
        what = names.get(kind, "a block device")
        raise FromHostError(f"{path}: it is {what}; only files, directories and links can be put into an image")

    # Made by us

    def directory(self, path: str, mode: int = 0o755) -> None:
        """A directory that nothing of the host fills; keeps the links of the host that lead to it."""
        where = self.place(path)
        if where:
            self.parents(where)
            self.nodes[where] = Node(Kind.DIRECTORY, mode)

    def content(self, path: str, data: bytes, mode: int = 0o644) -> None:
        where = self.place(path)
        self.parents(where)
        self.nodes[where] = Node(Kind.FILE, mode, size=len(data), data=data)

    def place(self, path: str) -> str:
        """Where an image path leads, following links of the image in all but its last part (without leading slash)."""
        pending = [part for part in reversed(path.split("/")) if part and part != "."]
        here: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                here = here[:-1]
                continue
            node = self.get("/".join((*here, part)))
            if node is None or node.kind is Kind.DIRECTORY or not pending:
                here.append(part)
            elif node.kind is Kind.SYMLINK and links < _MAX_LINKS:
                links += 1
                here = [] if node.link.startswith("/") else here
                pending.extend(p for p in reversed(node.link.split("/")) if p and p != ".")
            else:
                raise FromHostError(f"{path}: /{'/'.join((*here, part))} is not a directory in the image")
        return "/".join(here)

    def parents(self, path: str) -> None:
        """Make sure that the directories above a placed path exist in this layer, as they are below."""
        at = path.find("/")
        while at != -1:
            above = path[:at]
            if above not in self.nodes:
                self.nodes[above] = self.get(above) or _PASSAGE
            at = path.find("/", at + 1)


_PASSAGE = Node(Kind.DIRECTORY, 0o755)
