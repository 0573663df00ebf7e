"""What each program needs: links, its interpreter (of ELF, of scripts), its libraries, Python's standard library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from groundplane.engine.images.from_host.contract import DEFAULT_PATH, FromHostError
from groundplane.engine.images.from_host.elf import BadElf, Elf
from groundplane.engine.images.from_host.libraries import Libraries, default_directories, encode_cache, search_paths
from groundplane.engine.images.from_host.python import add_standard_library, find_home
from groundplane.engine.images.from_host.tree import Tree
from groundplane.oci.image_layer import Kind

_MAX_INTERPRETERS = 4  # execve(2), "Interpreter scripts": the kernel's own limit of recursion
# glibc opens these by name at run time: the unwinder for pthread_cancel, name services before 2.34.
_OPENED_BY_GLIBC = ("libgcc_s.so.1", "libnss_files.so.2", "libnss_dns.so.2")


class Programs:
    """Collects programs into the base layer's tree. `directories` are those of the programs, for the image's PATH."""

    def __init__(self, tree: Tree, libraries: Libraries, search_path: str) -> None:
        self._tree = tree
        self._libraries = libraries
        self._search_path = search_path
        self._done: set[str] = set()
        self._placed: dict[str, str] = {}  # soname → path, of all libraries that were found
        self._machine = 0
        self.directories: list[str] = []
        self.warnings: list[str] = []

    def add(self, program: str, depth: int = 0) -> None:
        """A program by its absolute path, with all it needs. Raises FromHostError."""
        if depth > _MAX_INTERPRETERS:
            raise FromHostError(f"{program}: interpreters of interpreters; the kernel starts no more than four")
        real = self._tree.add_host(program)
        node = self._tree.nodes.get(real[1:])
        if node is None or node.kind is not Kind.FILE:
            raise FromHostError(f"{program}: it is a directory; a program is expected (use --add for files)")
        if not node.mode & 0o111:
            raise FromHostError(f"{program}: it is not executable (use --add for files)")
        self._note_directory(program)
        if (elf := self._elf(real)) is None:
            self._add_script(program, real, depth)
            return
        if elf.interpreter:
            self._tree.add_host(elf.interpreter)
        self._close(real, elf)
        if (home := find_home(program)) is not None:
            for path in add_standard_library(self._tree, home):
                self.add_object(path)

    def add_object(self, path: str, found_in: str = "") -> None:
        """The libraries of a shared object or an added executable; what is missing is a warning only.

        Libraries below `found_in` are left out: the object's own tree brings them.
        """
        try:
            elf = self._elf(path)
        except FromHostError as error:
            self.warnings.append(str(error))
            return
        if elf is None:
            return
        if elf.interpreter:
            self._tree.add_host(elf.interpreter)
        self._close(path, elf, strict=False, found_in=found_in)

    def finish(self) -> None:
        """What all programs of the image share, once all are known."""
        if "libc.so.6" not in self._placed:
            return
        loader = self._placed["libc.so.6"]
        libc = self._elf(os.path.realpath(loader))
        assert libc is not None  # it was found by its ELF header
        for soname in _OPENED_BY_GLIBC:
            if (path := self._libraries.find(soname, loader, libc, ())) is not None:
                self._placed[soname] = path
                self._tree.add_host(path)
        default = set(default_directories(libc))
        elsewhere = {n: p for n, p in self._placed.items() if os.path.dirname(p) not in default}
        if elsewhere:
            self._tree.content("/etc/ld.so.cache", encode_cache(self._placed, self._machine))

    def _note_directory(self, program: str) -> None:
        directory = os.path.dirname(program)
        if directory not in (*DEFAULT_PATH.split(":"), *self.directories):
            self.directories.append(directory)

    def _elf(self, path: str) -> Elf | None:
        try:
            return self._libraries.elf(path)
        except (BadElf, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise FromHostError(f"{path}: {reason}") from error

    def _close(self, path: str, elf: Elf, *, strict: bool = True, found_in: str = "") -> None:
        """Add the transitive closure of DT_NEEDED, breadth first as the linker loads it."""
        self._machine = self._machine or elf.machine
        queue: list[tuple[str, Elf, tuple[str, ...]]] = [(path, elf, ())]
        while queue:
            loader, facts, inherited = queue.pop(0)
            if loader in self._done:
                continue
            self._done.add(loader)
            passed_on = inherited if facts.runpath else (*search_paths(facts.rpath, loader, facts), *inherited)
            for soname in facts.needed:
                found = self._libraries.find(soname, loader, facts, inherited)
                if found is None:
                    self._missing(soname, loader, strict=strict)
                    continue
                if found_in and os.path.realpath(found).startswith(found_in.rstrip("/") + "/"):
                    continue
                if not found.startswith(tuple(self._private_paths(facts, loader, inherited))):
                    self._placed.setdefault(soname, found)
                real = self._tree.add_host(os.path.normpath(found))
                if (library := self._elf(real)) is not None:
                    queue.append((real, library, passed_on))

    def _private_paths(self, elf: Elf, loader: str, inherited: Iterable[str]) -> list[str]:
        """Directories that the loader itself names: what lies there needs no cache to be found."""
        return [f"{d}/" for d in (*search_paths((*elf.rpath, *elf.runpath), loader, elf), *inherited)]

    def _missing(self, soname: str, loader: str, *, strict: bool) -> None:
        sentence = f"{loader}: it needs the shared library {soname}, which is not on this host"
        if strict:
            raise FromHostError(sentence)
        self.warnings.append(sentence)

    # Scripts

    def _add_script(self, program: str, real: str, depth: int) -> None:
        words = self._shebang(program, real)
        interpreter = words[0]
        if not interpreter.startswith("/"):
            raise FromHostError(f"{program}: its interpreter {interpreter!r} is not an absolute path")
        self.add(interpreter, depth + 1)
        if os.path.basename(interpreter) == "env" and (name := _env_program(words[1:])):
            self.add(find_program(name, self._search_path), depth + 1)

    def _shebang(self, program: str, real: str) -> Sequence[str]:
        with open(real, "rb") as f:
            first = f.readline(4096)
        if not first.startswith(b"#!") or not (words := os.fsdecode(first[2:]).split()):
            raise FromHostError(f"{program}: it is neither an ELF program nor a script that begins with #!")
        return words


def _env_program(words: Sequence[str]) -> str:
    """NAME of `env [-S] [VAR=value] NAME`; empty where there is none."""
    return next((word for word in words if not word.startswith("-") and "=" not in word), "")


def find_program(name: str, search_path: str) -> str:
    """A program's absolute path, as a shell with this PATH would find it. Raises FromHostError."""
    if "/" in name:
        return os.path.abspath(name)
    for directory in search_path.split(":"):
        path = os.path.join(directory or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK) and not _is_shim(path):
            return os.path.abspath(path)
        if os.path.isfile(path) and (real := _behind_shim(path, name)):
            return real
    raise FromHostError(f"{name}: no such program in {search_path}")


def _is_shim(path: str) -> bool:
    """pyenv, rbenv and asdf put scripts into `ROOT/shims` that start what `ROOT/versions` has: useless in an image."""
    directory = os.path.dirname(path)
    return os.path.basename(directory) == "shims" and os.path.isdir(
        os.path.join(os.path.dirname(directory), "versions")
    )


def _behind_shim(path: str, name: str) -> str:
    """What a shim starts, by pyenv's rules: `$PYENV_VERSION` and `.python-version` are the caller's to resolve, the
    root's `version` file is ours. Empty where that is not known."""
    root = os.path.dirname(os.path.dirname(path))
    try:
        with open(os.path.join(root, "version"), encoding="utf-8") as f:
            versions = f.read().split()
    except OSError:
        return ""
    candidates = (os.path.join(root, "versions", version, "bin", name) for version in versions)
    return next((candidate for candidate in candidates if os.access(candidate, os.X_OK)), "")
