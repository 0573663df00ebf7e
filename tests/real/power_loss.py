"""What a disk may hold after a power cut: a process's writes are recorded with strace, and any moment is replayed.

A write is safe once its file was synced after it; until then it may be there, or not, or in part (sectors of 512
bytes). A change of names (create, link, rename, unlink) is safe once its directory was synced; until then the changes
happened up to some point, in their order, as journalling file systems have it.
"""

from __future__ import annotations

import codecs
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,pwrite64,write,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,link,linkat,symlink,symlinkat"
_SECTOR = 512
_LINE = re.compile(r"^(\d+)\s+(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))$")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_FD = re.compile(r"^(\d+)<([^>]*)>")


@dataclass(frozen=True)
class Call:
    """One finished system call: its arguments as strace shows them."""

    name: str
    arguments: str

    @property
    def path(self) -> str:
        """The file behind the descriptor that comes first."""
        found = _FD.match(self.arguments)
        return found[2] if found else ""

    @property
    def texts(self) -> list[bytes]:
        return [codecs.escape_decode(t.encode("latin-1"))[0] for t in _TEXT.findall(self.arguments)]  # type: ignore[attr-defined]

    @property
    def numbers(self) -> list[int]:
        return [int(n) for n in re.findall(r", (\d+)(?=[,)])", self.arguments[self.arguments.rfind('"') + 1 :])]


def recorded(script: Path, *words: str, trace: Path) -> list[Call]:
    """Run a Python script under strace; its calls that succeeded, in the order in which they ended."""
    command = ["strace", "-f", "-y", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(trace)]
    subprocess.run([*command, sys.executable, str(script), *words], check=True, timeout=120, stdout=subprocess.PIPE)
    return list(read(trace))


def read(trace: Path) -> Iterator[Call]:
    """The calls of a recording that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    with open(trace, encoding="latin-1") as lines:
        for line in lines:
            if (found := _LINE.match(line.rstrip("\n"))) is None:
                continue
            thread, name, rest, resumed, end = found.groups()
            if resumed:
                name, rest = resumed, begun.pop(thread, "") + end
            if rest.endswith("<unfinished ...>"):
                begun[thread] = rest.removesuffix("<unfinished ...>").rstrip()
                continue
            if not re.search(r"\)\s+= -", rest):
                yield Call(name, rest)


@dataclass
class File:
    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # offset and data, or a length to cut at

    def sync(self) -> None:
        for at, data in self.pending:
            _put(self.safe, at, data)
        self.pending = []

    def after_a_cut(self, chance: random.Random) -> bytes:
        share = chance.choice((0.0, 0.3, 0.7, 1.0))
        found = bytearray(self.safe)
        for at, data in self.pending:
            if chance.random() >= share:
                continue
            if data is not None and chance.random() < 0.2:
                data = data[: chance.randrange(len(data) // _SECTOR + 1) * _SECTOR]
            _put(found, at, data)
        return bytes(found)


def _put(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    content.extend(bytes(max(0, at - len(content))))
    content[at : at + len(data)] = data


class Disk:
    """The files below one directory while the calls go on. `said` is what was written to standard output."""

    def __init__(self, directory: Path) -> None:
        self._below = f"{directory}/"
        self._names: dict[str, File] = {}  # as the process sees them
        self._safe: dict[str, File] = {}  # as they are on the disk for certain
        self._renames: list[tuple[str, File | None]] = []  # not safe yet, oldest first: a name and what it is now
        self.said: list[str] = []

    def apply(self, call: Call) -> None:
        match call.name:
            case "write" if call.arguments.startswith("1<"):
                self.said += b"".join(call.texts).decode().splitlines()
            case "pwrite64" | "write" if (file := self._names.get(call.path)) is not None:
                offset = call.numbers[-1] if call.name == "pwrite64" else len(_seen(file))
                file.pending.append((offset, b"".join(call.texts)))
            case "ftruncate" if (file := self._names.get(call.path)) is not None:
                file.pending.append((call.numbers[-1], None))
            case "fsync" | "fdatasync":
                self._sync(call.path)
            case "openat" if "O_CREAT" in call.arguments:
                path = call.texts[0].decode()
                if path.startswith(self._below) and path not in self._names and "-shm" not in path:
                    self._name(path, File())
            case "unlink" | "unlinkat":
                self._name(call.texts[0].decode(), None)
            case "rename" | "link" | "linkat":
                old, new = (text.decode() for text in call.texts)
                if (moved := self._names.get(old)) is not None:
                    self._name(new, moved)
                    if call.name == "rename":
                        self._name(old, None)

    def after_a_cut(self, into: Path, chance: random.Random) -> None:
        """Write what the disk may hold now below the directory `into`."""
        names = dict(self._safe)
        for name, file in self._renames[: chance.randint(0, len(self._renames))]:
            _bind(names, name, file)
        for name, file in names.items():
            target = into / name.removeprefix(self._below)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.after_a_cut(chance))

    def _name(self, name: str, file: File | None) -> None:
        if name in self._names or file is not None:
            _bind(self._names, name, file)
            self._renames.append((name, file))

    def _sync(self, path: str) -> None:
        if (file := self._names.get(path)) is not None:
            file.sync()
            return
        ours = [r for r in self._renames if r[0].rpartition("/")[0] == path]
        for name, bound in ours:
            _bind(self._safe, name, bound)
        self._renames = [r for r in self._renames if r not in ours]


def _seen(file: File) -> bytes:
    found = bytearray(file.safe)
    for at, data in file.pending:
        _put(found, at, data)
    return bytes(found)


def _bind(names: dict[str, File], name: str, file: File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file
