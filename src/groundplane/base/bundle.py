"""One file with the code of all modules that a command imports, for commands that live for milliseconds.

Importing a module costs 0.05 ms for its code and as much again to find it: directories listed, files looked for,
opened, measured and read. A command that imports seventy of them spends a fifth of its life on looking. So its main
remembers what was imported and where from, in one file beside its own `.pyc`, and reads that the next time.

Everything here is a cache in the sense of PEP 3147 and holds to its rules: a module whose source has changed since
(time or size, as for a `.pyc`) is imported as if there were no bundle, and the bundle is written anew; what cannot be
written is not; nothing is written where `sys.dont_write_bytecode` says so; another interpreter does not use it.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's, which would be another package to import
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader, cache_from_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    # A module's origin, its mtime in ns, its size, and the directory of a package or "".
    Facts = tuple[str, int, int, str]
    # And where its code begins and ends in the file; nowhere: it is a shared library.
    Entry = tuple[Facts, int, int]

_BUILD = f"1 {sys.version} {sys.base_exec_prefix}"  # what the file's contents depend on beside the sources


class Bundle:
    """A finder for `sys.meta_path`, and the loader of what it finds (importlib.abc.MetaPathFinder, Loader)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._before = set(sys.modules)
        self._found: set[str] = set()
        self._stale = False
        self._entries: dict[str, Entry]
        self._entries, self._code = _read(path)

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """Where a module is, if it is in the bundle and has not changed."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        (origin, changed, size, directory), begin, end = entry
        if _measure(origin) != (changed, size):
            self._stale = True
            return None
        self._found.add(name)
        loader: Any = self if end > begin else ExtensionFileLoader(name, origin)
        spec = ModuleSpec(name, loader, origin=origin, is_package=bool(directory))
        spec.has_location = True
        spec.cached = self._path  # else the usual name is put together, which nobody asks for
        if directory:
            spec.submodule_search_locations = [directory]
        return spec

    def create_module(self, spec: object) -> None:
        """The usual module object."""

    def exec_module(self, module: ModuleType) -> None:
        _, begin, end = self._entries[module.__name__]
        exec(marshal.loads(self._code[begin:end]), module.__dict__)

    def save(self) -> None:
        """Write what was imported since the start, and what was known before, if anything was not found here."""
        if sys.dont_write_bytecode or not os.access(os.path.dirname(self._path), os.W_OK):
            return
        fresh = [_describe(sys.modules[name]) for name in sorted(set(sys.modules) - self._before - self._found)]
        if not any(fresh):
            return
        entries: dict[str, Entry] = {}
        code = bytearray()
        for name in self._found if self._stale else self._entries:
            facts, begin, end = self._entries[name]
            entries[name] = (facts, len(code), len(code) + end - begin)
            code += self._code[begin:end]
        for found in fresh:
            if found is not None:
                name, facts, text = found
                entries[name] = (facts, len(code), len(code) + len(text))
                code += text
        _write(self._path, entries, code)


def install(source: str) -> Bundle:
    """Import from the bundle of the main at `source`, from now on; its `save` is to be called at the end."""
    bundle = Bundle(cache_from_source(source).removesuffix(".pyc") + ".bundle")
    sys.meta_path.insert(0, bundle)
    return bundle


def _read(path: str) -> tuple[dict[str, Entry], memoryview]:
    """The file is an index, then the code; nothing where there is none for this interpreter."""
    try:
        with open(path, "rb") as file:
            data = memoryview(file.read())
        length = int.from_bytes(data[:4], "little")
        build, size, entries = marshal.loads(data[4 : 4 + length])
        if build == _BUILD and len(data) == 4 + length + size:  # shorter after a power failure
            return entries, data[4 + length :]
    except (OSError, ValueError, EOFError, TypeError):
        pass
    return {}, memoryview(b"")


def _write(path: str, entries: dict[str, Entry], code: bytearray) -> None:
    """Whole or not at all; a directory that is not ours to write to means no bundle."""
    index = marshal.dumps((_BUILD, len(code), entries))
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(len(index).to_bytes(4, "little") + index + code)
        os.rename(temporary, path)
    except OSError:
        return


def _describe(module: ModuleType) -> tuple[str, Facts, bytes] | None:
    """Name, facts and code of a module; None of those that are built in, or come from elsewhere than files."""
    spec = module.__spec__
    if spec is None or spec.origin is None:
        return None
    if isinstance(spec.loader, SourceFileLoader):
        code = marshal.dumps(spec.loader.get_code(spec.name))
    elif isinstance(spec.loader, ExtensionFileLoader):
        code = b""
    else:
        return None
    measure = _measure(spec.origin)
    directory = next(iter(spec.submodule_search_locations or ()), "")
    return (spec.name, (spec.origin, *measure, directory), code) if measure else None


def _measure(path: str) -> tuple[int, int] | None:
    try:
        now = os.stat(path)
    except OSError:
        return None
    return now.st_mtime_ns, now.st_size
