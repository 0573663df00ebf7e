"""The guest's kernel: Debian's cloud kernel, unpacked by `tools/prepare-host` and never installed, and its modules."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PREPARE = "tools/prepare-host guest"


@dataclass(frozen=True)
class Kernel:
    """An image that QEMU boots, and the modules that belong to it, by name (`nf_tables`): .ko, or .ko.xz."""

    image: Path
    modules: dict[str, Path]

    @property
    def release(self) -> str:
        return self.image.name.removeprefix("vmlinuz-")

    @property
    def limits_v1_memory(self) -> bool:
        """Whether version 1 has the memory controller, too: a matter of configuration since Linux 6.11."""
        return "# CONFIG_MEMCG_V1 is not set" not in self.image.with_name(f"config-{self.release}").read_text()

    def in_order(self, names: Iterable[str]) -> dict[str, bytes]:
        """The code of these modules and of those they depend on, in the order in which insmod(8) takes them.

        Raises KeyError for a module that this kernel does not have.
        """
        ordered: dict[str, bytes] = {}

        def add(name: str) -> None:
            code = _code(self.modules[name])
            for needed in _depends(code):
                add(needed)
            ordered[name] = code

        for name in names:
            add(name)
        return ordered


def _code(module: Path) -> bytes:
    """Debian compresses its modules since 13, with xz."""
    return lzma.decompress(module.read_bytes()) if module.suffix == ".xz" else module.read_bytes()


def _depends(code: bytes) -> list[str]:
    """What a module names in its .modinfo section (`depends=a,b`); depmod(8) looks there too."""
    found = re.search(rb"\0depends=([^\0]*)\0", code)
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
    release = image.name.removeprefix("vmlinuz-")
    folders = (directory() / place / "modules" / release for place in ("lib", "usr/lib"))  # usr/lib since Debian 13
    return Kernel(image, {_name(path.name): path for folder in folders for path in folder.rglob("*.ko*")})
