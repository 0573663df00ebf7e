"""Finding shared libraries as ld.so(8) would: DT_RPATH, DT_RUNPATH, /etc/ld.so.cache, the default directories.

The linker itself is not asked (`ld.so --list` maps foreign files into a process, and knows only this machine's own
architecture). LD_LIBRARY_PATH is left out, because a container does not have it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key

from groundplane.engine.images.from_host.elf import BadElf, Elf, read_elf

_OLD_MAGIC = b"ld.so-1.7.0\0"
_NEW_MAGIC = b"glibc-ld.so.cache1.1"
_DIGITS = frozenset("0123456789")
# e_machine → the multiarch directory in which Debian's linker looks by itself, and its cache's flags
_MULTIARCH = {62: "x86_64-linux-gnu", 183: "aarch64-linux-gnu"}
_CACHE_FLAGS = {62: 0x0303, 183: 0x0A03}  # glibc sysdeps/generic/ldconfig.h: FLAG_ELF_LIBC6 | the machine's


def default_directories(elf: Elf) -> tuple[str, ...]:
    """Where the linker looks without being told, whatever the distribution."""
    multiarch = _MULTIARCH.get(elf.machine)
    wide = ("/lib64", "/usr/lib64") if elf.bits == 64 else ()
    return (*((f"/lib/{multiarch}", f"/usr/lib/{multiarch}") if multiarch else ()), *wide, "/lib", "/usr/lib")


class Libraries:
    """Looks up sonames on this host; keeps what it read, for one image."""

    def __init__(self, cache: Mapping[str, Sequence[str]]) -> None:
        self._cache = cache
        self._read: dict[str, Elf | None] = {}

    def elf(self, path: str) -> Elf | None:
        """The facts of a file; None where it is not ELF. Raises BadElf, OSError."""
        if path not in self._read:
            self._read[path] = read_elf(path)
        return self._read[path]

    def find(self, soname: str, loader: str, elf: Elf, inherited: Sequence[str]) -> str | None:
        """The path of a library that `loader` (with its facts) needs; None where no directory has it.

        `inherited` are the DT_RPATHs of those that loaded the loader, expanded: they count, DT_RUNPATHs do not.
        """
        if "/" in soname:
            candidates: Iterator[str] = iter((_expand(soname, loader, elf),))
        else:
            candidates = self._candidates(soname, loader, elf, inherited)
        return next((path for path in candidates if self._fits(path, elf)), None)

    def _candidates(self, soname: str, loader: str, elf: Elf, inherited: Sequence[str]) -> Iterator[str]:
        if not elf.runpath:  # ld.so(8): DT_RPATH counts only where there is no DT_RUNPATH
            yield from (f"{d}/{soname}" for d in (*search_paths(elf.rpath, loader, elf), *inherited))
        yield from (f"{d}/{soname}" for d in search_paths(elf.runpath, loader, elf))
        yield from self._cache.get(soname, ())
        yield from (f"{d}/{soname}" for d in default_directories(elf))

    def _fits(self, path: str, wanted: Elf) -> bool:
        """The linker goes on where a file of that name is for another architecture."""
        try:
            found = self.elf(path)
        except (OSError, BadElf):
            return False
        return found is not None and (found.bits, found.machine) == (wanted.bits, wanted.machine)


def search_paths(paths: Sequence[str], loader: str, elf: Elf) -> tuple[str, ...]:
    return tuple(_expand(path, loader, elf) for path in paths)


def _expand(path: str, loader: str, elf: Elf) -> str:
    """Dynamic string tokens (ld.so(8)), of the file that carries the path."""
    multiarch = _MULTIARCH.get(elf.machine)
    values = {
        "ORIGIN": os.path.dirname(os.path.realpath(loader)),
        "LIB": f"lib/{multiarch}" if multiarch else "lib64",
        "PLATFORM": {62: "x86_64", 183: "aarch64"}.get(elf.machine, ""),
    }
    for name, value in values.items():
        path = path.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return path


def read_cache(path: str = "/etc/ld.so.cache") -> dict[str, list[str]]:
    """soname → paths, in the linker's order; without the variants for newer processors, so that the image runs on all.

    Empty where there is no cache, or one of a format that is not glibc's (musl has none).
    """
    try:
        with open(path, "rb") as f:
            return parse_cache(f.read())
    except (OSError, struct.error):
        return {}


def parse_cache(data: bytes) -> dict[str, list[str]]:
    """glibc elf/cache.c and dl-cache.h: `struct cache_file_new`, possibly behind an old-format part. May raise
    struct.error for a damaged one."""
    if data.startswith(_OLD_MAGIC):
        (count,) = struct.unpack_from("=I", data, len(_OLD_MAGIC))
        data = data[(16 + count * 12 + 7) & ~7 :]
    if not data.startswith(_NEW_MAGIC):
        return {}
    (count,) = struct.unpack_from("=I", data, len(_NEW_MAGIC))
    found: dict[str, list[str]] = {}
    for at in range(48, 48 + count * 24, 24):
        _, key, value, _, hwcap = struct.unpack_from("=iIIIQ", data, at)
        if hwcap == 0:
            found.setdefault(_text(data, key), []).append(_text(data, value))
    return found


def _text(data: bytes, at: int) -> str:
    return os.fsdecode(data[at : data.find(b"\0", at)])


def encode_cache(libraries: Mapping[str, str], machine: int) -> bytes:
    """A cache of soname → path, for an image whose libraries lie where the linker does not look by itself."""
    ordered = sorted(libraries, key=cmp_to_key(_compare), reverse=True)  # the linker searches by halves, descending
    header_size = 48 + 24 * len(ordered)
    entries, strings = b"", b""
    for soname in ordered:
        key = header_size + len(strings)
        strings += os.fsencode(soname) + b"\0"
        value = header_size + len(strings)
        strings += os.fsencode(libraries[soname]) + b"\0"
        entries += struct.pack("=iIIIQ", _CACHE_FLAGS.get(machine, 3), key, value, 0, 0)
    little_endian = 2  # cache_file_new_flags_endian_little
    header = struct.pack("=20sIIB3xI12x", _NEW_MAGIC, len(ordered), len(strings), little_endian, 0)
    return header + entries + strings


def _compare(a: str, b: str) -> int:
    """glibc's _dl_cache_libcmp: runs of digits compare as numbers, and come after what is no digit."""
    i = j = 0
    while i < len(a):
        left, right = a[i], b[j] if j < len(b) else "\0"
        if left in _DIGITS and right in _DIGITS:
            end_i, end_j = _digits(a, i), _digits(b, j)
            if (difference := int(a[i:end_i]) - int(b[j:end_j])) != 0:
                return difference
            i, j = end_i, end_j
        elif left in _DIGITS or right in _DIGITS:
            return 1 if left in _DIGITS else -1
        elif left != right:
            return ord(left) - ord(right)
        else:
            i, j = i + 1, j + 1
    return -1 if j < len(b) else 0


def _digits(text: str, at: int) -> int:
    while at < len(text) and text[at] in _DIGITS:
        at += 1
    return at
