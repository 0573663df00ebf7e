"""What a Python interpreter of this host needs beside its libraries: the standard library, found by its landmarks.

The interpreter is not executed: getpath (Modules/getpath.py) finds `lib/pythonX.Y/os.py` above the real executable, and
so do we. A virtual environment's `pyvenv.cfg` comes along, its packages only by `--add`. Left out: tests, Tk and IDLE,
what is only for linking C, packages (site-packages, dist-packages), and bytecode of the optimised levels.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from groundplane.engine.images.from_host.contract import FromHostError
from groundplane.engine.images.from_host.tree import Tree
from groundplane.oci.image_layer import Kind

_NAME = re.compile(r"python(\d+\.\d+)?[a-z]?(\d+)?\Z")
_VERSION = re.compile(r"python(3\.\d+)t?\Z")
_SKIPPED_DIRECTORIES = frozenset(
    {"test", "tests", "idlelib", "tkinter", "turtledemo", "site-packages", "dist-packages", "idle_test"}
)
_SKIPPED_FILES = re.compile(r".*\.opt-[12]\.pyc|_tkinter\..*\.so|turtle\.py|.*\.a|.*~\Z")


@dataclass(frozen=True, slots=True)
class PythonHome:
    """Directories of the standard library, and files of the environment that the interpreter was named through."""

    directories: tuple[str, ...]
    files: tuple[str, ...]


def find_home(program: str) -> PythonHome | None:
    """The home of the interpreter `program` (as the user named it); None where it is not Python.

    Raises FromHostError where it is Python and its library cannot be found.
    """
    real = os.path.realpath(program)
    if not _NAME.match(os.path.basename(real)):
        return None
    prefix = os.path.dirname(os.path.dirname(real))
    directories = [found for name in ("lib", "lib64") for found in _libraries(os.path.join(prefix, name), real)]
    if not directories:
        raise FromHostError(f"{program}: the standard library of this Python was not found below {prefix}/lib")
    zipped = [f"{prefix}/lib/{os.path.basename(directories[0]).replace('.', '')}.zip"]
    settings = os.path.join(os.path.dirname(os.path.dirname(_unlinked(program))), "pyvenv.cfg")
    beside = os.path.join(os.path.dirname(_unlinked(program)), "pyvenv.cfg")
    files = [path for path in (settings, beside, *zipped) if os.path.isfile(path)]
    return PythonHome(tuple(directories), tuple(files))


def _unlinked(program: str) -> str:
    """The named path with links resolved in its directory only: an environment's `bin/python` is itself a link."""
    return os.path.join(os.path.realpath(os.path.dirname(program)), os.path.basename(program))


def _libraries(directory: str, real: str) -> list[str]:
    """`pythonX.Y` directories of the interpreter's version that have the landmark (or its compiled modules)."""
    named = _VERSION.match(os.path.basename(real))
    try:
        names = sorted(name for name in os.listdir(directory) if _VERSION.match(name))
    except OSError:
        return []
    if named:
        names = [name for name in names if name == os.path.basename(real)]
    found = [os.path.join(directory, name) for name in names]
    # On lib64 distributions one of the two has os.py and lib-dynload, the other may have packages only.
    return [path for path in found if os.path.exists(f"{path}/os.py") or os.path.isdir(f"{path}/lib-dynload")]


def add_standard_library(tree: Tree, home: PythonHome) -> list[str]:
    """Put the standard library into the tree; the shared objects in it, whose own libraries are needed too."""
    objects: list[str] = []
    for path in home.files:
        tree.add_host(path)
    for directory in home.directories:
        queue = [tree.add_host(directory)]
        while queue:
            queue += _add_directory(tree, queue.pop(), objects)
    return objects


def _add_directory(tree: Tree, directory: str, objects: list[str]) -> list[str]:
    """Put one directory's files into the tree; the directories in it that are wanted, too."""
    below: list[str] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _SKIPPED_DIRECTORIES and not entry.name.startswith("config-"):
                    below.append(entry.path)
                continue
            if _SKIPPED_FILES.match(entry.name):
                continue
            if entry.is_symlink():
                if os.path.exists(entry.path) and not entry.name.endswith(".so"):
                    tree.add_host(entry.path)  # with what it leads to: Debian keeps sitecustomize.py in /etc
                continue
            node = tree.read_node(entry.path, entry.stat(follow_symlinks=False))
            tree.nodes[entry.path[1:]] = node
            if node.kind is Kind.FILE and ".so" in entry.name:
                objects.append(entry.path)
    tree.nodes[directory[1:]] = tree.read_node(directory, os.lstat(directory))
    return below
