"""The guest's kernel: Debian's cloud kernel, unpacked by `tools/prepare-host` and never installed, and its modules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PREPARE = "tools/prepare-host guest"


@dataclass(frozen=True)
class Kernel:
    """An image that QEMU boots, and the modules that belong to it, by name (`nf_tables`)."""

    image: Path
    modules: dict[str, Path]

    @property
    def release(self) -> str:
        return self.image.name.removeprefix("vmlinuz-")

    def in_order(self, names: Iterable[str]) -> list[Path]:
        """These modules and those they depend on, in the order in which insmod(8) takes them.

        Raises KeyError for a module that this kernel does not have.
        """
        ordered: list[Path] = []

        def add(name: str) -> None:
            path = self.modules[name]
            for needed in _depends(path):
                add(needed)
            if path not in ordered:
                ordered.append(path)

        for name in names:
            add(name)
        return ordered


def _depends(module: Path) -> list[str]:
    """What a module names in its .modinfo section (`depends=a,b`); depmod(8) looks there too."""
    found = re.search(rb"\0depends=([^\0]*)\0", module.read_bytes())
    return [_name(part) for part in found[1].decode().split(",") if part] if found else []


def _name(file: str) -> str:
    return file.partition(".ko")[0].replace("-", "_")


def directory() -> Path:
    """Where prepare-host unpacks it: a cache that survives `make clean`, since only the distribution matters."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "groundplane" / "guest-kernel"


def find() -> Kernel | None:
    """The kernel in the cache; None where prepare-host has not been able to get one."""
    images = sorted(directory().glob("boot/vmlinuz-*"))
    if not images:
        return None
    image = images[-1]
    folder = directory() / "lib/modules" / image.name.removeprefix("vmlinuz-")
    return Kernel(image, {_name(path.name): path for path in folder.rglob("*.ko")})
