"""`--add SOURCE:DESTINATION`: the user's own files, as a second tree over the programs.

As with docker's COPY, a directory's content goes into the destination, and a file goes to it, or into it where it ends
with a slash or is a directory already. Links inside are kept as links. What cannot be in an image, and a destination
that leads out of it, is refused before anything is made.
"""

from __future__ import annotations

import os
import stat

from groundplane.engine.images.from_host.contract import Add, FromHostError
from groundplane.engine.images.from_host.programs import Programs
from groundplane.engine.images.from_host.tree import Node, Tree
from groundplane.oci.image_layer import Kind


def add_files(tree: Tree, add: Add, programs: Programs) -> None:
    """Put one `--add` into the tree, and the libraries of its native code into the base. Raises FromHostError."""
    source, destination = _checked(add)
    try:
        found = os.lstat(source)
        if stat.S_ISDIR(found.st_mode):
            _add_directory(tree, source, destination, programs)
            return
        node = tree.read_node(source, found)
    except FileNotFoundError as error:
        raise FromHostError(f"--add {error.filename}: it vanished while the image was made") from None
    except OSError as error:
        raise FromHostError(f"--add {error.filename or source}: {error.strerror}") from error
    if add.destination.endswith("/") or _is_directory(tree, destination):
        destination = f"{_directory_place(tree, destination)}/{os.path.basename(source)}"
    _put(tree, tree.place(destination), node, programs, source)


def _checked(add: Add) -> tuple[str, str]:
    if not add.source.startswith("/"):
        raise FromHostError(f"--add {add.source}: the source must be an absolute path")
    if not add.destination.startswith("/"):
        raise FromHostError(f"--add {add.source}:{add.destination}: the destination must be an absolute path")
    if ".." in add.destination.split("/"):
        raise FromHostError(f"--add {add.source}:{add.destination}: the destination leads out of the image with `..`")
    if "\0" in add.source or "\0" in add.destination:
        raise FromHostError("--add: a path has a zero byte in it")
    if not os.path.exists(add.source):
        raise FromHostError(f"--add {add.source}: there is no such file or directory")
    return os.path.realpath(add.source), add.destination


def _add_directory(tree: Tree, source: str, destination: str, programs: Programs) -> None:
    queue = [(source, destination)]
    while queue:
        directory, path = queue.pop()
        where = _directory_place(tree, path)
        node = tree.read_node(directory, os.lstat(directory))
        if where:
            tree.parents(where)
            tree.nodes[where] = node
        with os.scandir(directory) as entries:
            for entry in entries:
                target = f"{where}/{entry.name}".lstrip("/")
                if entry.is_dir(follow_symlinks=False):
                    queue.append((entry.path, f"/{target}"))
                    continue
                found = tree.read_node(entry.path, entry.stat(follow_symlinks=False))
                _put(tree, target, found, programs, source)


def _put(tree: Tree, where: str, node: Node, programs: Programs, root: str) -> None:
    below = tree.get(where)
    if not where or (below is not None and below.kind is Kind.DIRECTORY):
        raise FromHostError(f"--add {node.source or root}: /{where} is a directory in the image")
    tree.parents(where)
    tree.nodes[where] = node
    if node.kind is Kind.FILE and (node.mode & 0o111 or ".so" in os.path.basename(node.source)):
        programs.add_object(node.source, found_in=root)


def _is_directory(tree: Tree, path: str) -> bool:
    where = tree.place(f"{path}/x")[: -len("/x")]
    node = tree.get(where) if where else None
    return not where or (node is not None and node.kind is Kind.DIRECTORY)


def _directory_place(tree: Tree, path: str) -> str:
    """Where a directory of that path lies, its last link followed too; it need not exist yet."""
    where = tree.place(path)
    node = tree.get(where)
    if node is not None and node.kind is Kind.SYMLINK:
        where = tree.place(f"{path}/x").rpartition("/")[0]
        node = tree.get(where)
    if node is not None and node.kind is not Kind.DIRECTORY:
        raise FromHostError(f"--add: {path} is a file in the image, and a directory is to be put there")
    return where
