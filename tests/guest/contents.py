"""What the guest has: this host's Python with the project and what it needs, a few programs, and an /init.

All of it lies in an initramfs at the paths that it has on the host, so that scripts and environments find each other.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from tests.guest.kernel import Kernel

from groundplane.engine.images.from_host.adds import add_files
from groundplane.engine.images.from_host.contract import DEFAULT_PATH, Add
from groundplane.engine.images.from_host.libraries import Libraries, read_cache
from groundplane.engine.images.from_host.programs import Programs
from groundplane.engine.images.from_host.system import add_system
from groundplane.engine.images.from_host.tree import Node, Tree
from groundplane.oci.image_layer import Kind

PROJECT = Path(__file__).resolve().parents[2]
_PARTS = ("src", "tests", "bench", "pyproject.toml")
# Programs that tests call and whose options busybox does not have; runc and crun are taken where they are installed.
_PROGRAMS = ("bash", "mount", "umount", "unshare", "nsenter", "setpriv", "ps", "runc", "crun", "nft", "ip")
# Not read at a test's run: 60 MB that the guest would only unpack.
_SKIPPED = ("mypy", "ruff", "grpc", "kubernetes", "hypothesis", "docker")


def tree(kernel: Kernel, modules: Iterable[str], init: str, packages: Sequence[str]) -> Tree:
    """The guest's files. `init` is a script for busybox's shell; `packages` come with what they require."""
    made = Tree()
    add_system(made)
    programs = Programs(made, Libraries(read_cache()), DEFAULT_PATH)
    busybox = shutil.which("busybox")
    assert busybox
    programs.add(busybox)
    programs.add(sys.executable)
    for name in _PROGRAMS:
        if found := shutil.which(name):
            programs.add(found)
    for file in _files_of(packages):
        made.add_host(str(file))
        if file.suffix == ".so":
            programs.add_object(str(file))
    for script in ("ground", "groundd", "ground-runtime"):
        made.add_host(str(Path(sys.executable).parent / script))
    programs.finish()
    for part in _PARTS:
        add_files(made, Add(str(PROJECT / part), str(PROJECT / part)), programs)
    for name in _applets(busybox):
        if not any(f"{folder}/{name}" in made.nodes for folder in ("usr/bin", "usr/sbin", "bin", "sbin")):
            made.nodes[f"usr/bin/{name}"] = Node(Kind.SYMLINK, 0o777, link=busybox)
    ordered = kernel.in_order(modules)
    for name, code in ordered.items():
        made.content(f"/modules/{name}.ko", code)
    made.content("/modules/order", "".join(f"/modules/{name}.ko\n" for name in ordered).encode())
    made.directory("/mnt")
    made.content("/etc/hostname", b"guest\n")
    made.content("/init", init.encode(), 0o755)
    return made


def _applets(busybox: str) -> list[str]:
    return subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split()


def _files_of(packages: Sequence[str]) -> Iterator[Path]:
    """The files of distributions and of all that they require, as far as installed."""
    queue, seen = list(packages), set(_SKIPPED)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform or another Python
        queue += _required(found)
        for file in found.files or ():
            path = Path(str(file.locate())).resolve()
            if path.is_file() and ".." not in file.parts:
                yield path


def _required(found: Distribution) -> list[str]:
    """The names in `Requires-Dist` lines (core metadata specification), those of extras left out."""
    lines = (line for line in found.requires or () if "extra ==" not in line)
    return [match[0] for line in lines if (match := re.match(r"[A-Za-z0-9._-]+", line))]
