"""What an ELF file asks of the dynamic linker: its interpreter, the libraries it needs, and where it looks for them.

System V gABI chapters 4 and 5, read from program headers only (section headers may be stripped). The file may be
hostile or damaged: every offset is bounded, and whatever does not fit is a `BadElf`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from groundplane.base.errors import GroundError

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 15, 29
_MAX_HEADERS = 1024
_MAX_DYNAMIC = 1 << 20
_MAX_STRING = 4096


class BadElf(GroundError):
    """The file begins like ELF, and then is not."""


@dataclass(frozen=True, slots=True)
class Elf:
    """The dynamic linking facts of one file. `machine` with `bits` says which others it can be linked with."""

    bits: int
    machine: int
    interpreter: str  # empty for a static program or a library
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    dynamic: bool


def read_elf(path: str) -> Elf | None:
    """None where the file is not ELF at all. Raises BadElf, OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return parse_elf(lambda offset, size: os.pread(fd, size, offset))
    finally:
        os.close(fd)


def parse_elf(read_at: Callable[[int, int], bytes]) -> Elf | None:
    """The same over any source of bytes: `read_at(offset, size)`, shorter at the end."""
    head = read_at(0, 64)
    if head[:4] != b"\x7fELF":
        return None
    if len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
        raise BadElf("its ELF header is damaged")
    file = _File(read_at, wide=head[4] == 2, order="<" if head[5] == 1 else ">")
    try:
        return file.parse(head)
    except (struct.error, OverflowError, OSError) as error:
        raise BadElf(f"its ELF headers are damaged: {error}") from error


class _File:
    def __init__(self, read_at: Callable[[int, int], bytes], *, wide: bool, order: str) -> None:
        self._read_at = read_at
        self._wide = wide
        self._order = order
        self._loads: list[tuple[int, int, int]] = []  # virtual address, file offset, size in the file

    def parse(self, head: bytes) -> Elf:
        machine = struct.unpack_from(f"{self._order}H", head, 18)[0]
        if self._wide:
            offset = struct.unpack_from(f"{self._order}Q", head, 32)[0]
            size, count = struct.unpack_from(f"{self._order}HH", head, 54)
        else:
            offset = struct.unpack_from(f"{self._order}I", head, 28)[0]
            size, count = struct.unpack_from(f"{self._order}HH", head, 42)
        if count > _MAX_HEADERS or (count and size < (56 if self._wide else 32)):
            raise BadElf(f"its ELF header claims {count} program headers of {size} bytes")
        table = self._read_at(offset, size * count)
        headers = [self._header(table, i * size) for i in range(count)]
        self._loads = [(address, start, length) for kind, start, address, length in headers if kind == _PT_LOAD]
        interpreter = next((self._string(start) for kind, start, _, _ in headers if kind == _PT_INTERP), "")
        dynamic = next(((start, length) for kind, start, _, length in headers if kind == _PT_DYNAMIC), None)
        tags = self._dynamic(*dynamic) if dynamic else []
        strings = next((self._offset(value) for tag, value in tags if tag == _DT_STRTAB), 0)

        def texts(wanted: int) -> tuple[str, ...]:
            return tuple(self._string(strings + value) for tag, value in tags if tag == wanted)

        def paths(wanted: int) -> tuple[str, ...]:
            return tuple(part for text in texts(wanted) for part in text.split(":") if part)

        return Elf(
            bits=64 if self._wide else 32,
            machine=machine,
            interpreter=interpreter,
            needed=texts(_DT_NEEDED),
            rpath=paths(_DT_RPATH),
            runpath=paths(_DT_RUNPATH),
            dynamic=dynamic is not None,
        )

    def _header(self, table: bytes, at: int) -> tuple[int, int, int, int]:
        """Type, file offset, virtual address, size in the file."""
        if self._wide:
            kind, _, offset, address, _, length = struct.unpack_from(f"{self._order}IIQQQQ", table, at)
        else:
            kind, offset, address, _, length = struct.unpack_from(f"{self._order}IIIII", table, at)
        return kind, offset, address, length

    def _dynamic(self, offset: int, length: int) -> list[tuple[int, int]]:
        if length > _MAX_DYNAMIC:
            raise BadElf(f"its dynamic section claims {length} bytes")
        data = self._read_at(offset, length)
        form = f"{self._order}{'qQ' if self._wide else 'iI'}"
        step = struct.calcsize(form)
        tags: list[tuple[int, int]] = []
        for at in range(0, len(data) - step + 1, step):
            tag, value = struct.unpack_from(form, data, at)
            if tag == _DT_NULL:
                break
            tags.append((tag, value))
        return tags

    def _offset(self, address: int) -> int:
        for start, offset, length in self._loads:
            if start <= address < start + length:
                return offset + address - start
        raise BadElf(f"its dynamic section points to {address:#x}, which is not in the file")

    def _string(self, offset: int) -> str:
        text, end, _ = self._read_at(offset, _MAX_STRING).partition(b"\0")
        if not end:
            raise BadElf("a string in it has no end")
        return os.fsdecode(text)
