"""ELF facts and the linker's search, from files built here byte by byte and from this host's own."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from groundplane.engine.images.from_host.elf import BadElf, Elf, parse_elf, read_elf
from groundplane.engine.images.from_host.libraries import Libraries, encode_cache, parse_cache, read_cache

X86_64 = 62


def elf(
    needed: tuple[str, ...] = (), *, rpath: str = "", runpath: str = "", interpreter: str = "", machine: int = X86_64
) -> bytes:
    """A file with program headers (LOAD, DYNAMIC, INTERP) and a dynamic section; nothing that could run."""
    strings, offsets = b"\0", []
    for text in (*needed, rpath, runpath):
        offsets.append(len(strings))
        strings += text.encode() + b"\0"
    tags = [(1, at) for at in offsets[: len(needed)]]
    tags += [(15, offsets[-2])] if rpath else []
    tags += [(29, offsets[-1])] if runpath else []
    at = 64 + 3 * 56
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (5, 0), (0, 0)])
    where = at + len(dynamic)
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in [*tags, (5, where), (0, 0)])
    body = dynamic + strings + interpreter.encode() + b"\0"
    named = where + len(strings)

    def header(kind: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 1)

    headers = header(1, 0, at + len(body)) + header(2, at, len(dynamic))
    headers += header(3, named, len(interpreter) + 1) if interpreter else header(0, 0, 0)
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    return head + headers + body


def parse(data: bytes) -> Elf | None:
    return parse_elf(lambda offset, size: data[offset : offset + size])


def test_facts_are_read() -> None:
    found = parse(elf(("libc.so.6", "libm.so.6"), runpath="/a:$ORIGIN/b", interpreter="/lib64/ld.so"))
    assert found == Elf(64, X86_64, "/lib64/ld.so", ("libc.so.6", "libm.so.6"), (), ("/a", "$ORIGIN/b"), True)


def test_what_is_not_elf_is_none() -> None:
    assert parse(b"#!/bin/sh\n") is None
    assert parse(b"") is None


def test_damage_is_one_error() -> None:
    whole = elf(("libc.so.6",), interpreter="/x")
    for cut in range(4, len(whole), 7):
        try:
            parse(whole[:cut])
        except BadElf:
            pass
    with pytest.raises(BadElf):
        parse(b"\x7fELF" + b"\xff" * 100)


def write(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def find(
    program: str, soname: str, cache: dict[str, list[str]] | None = None, inherited: tuple[str, ...] = ()
) -> str | None:
    facts = read_elf(program)
    assert facts is not None
    return Libraries(cache or {}).find(soname, program, facts, inherited)


def test_search_order(tmp_path: Path) -> None:
    """ld.so(8): DT_RPATH unless there is a DT_RUNPATH, then DT_RUNPATH, then the cache."""
    names = {}
    for directory in ("rpath", "runpath", "cached", "inherited"):
        names[directory] = write(tmp_path / directory / "libx.so", elf())
    cache = {"libx.so": [names["cached"]]}
    both = write(tmp_path / "both", elf(rpath=f"{tmp_path}/rpath", runpath=f"{tmp_path}/runpath"))
    old = write(tmp_path / "old", elf(rpath=f"{tmp_path}/rpath"))
    bare = write(tmp_path / "bare", elf())
    assert find(both, "libx.so", cache) == names["runpath"]
    assert find(old, "libx.so", cache) == names["rpath"]
    assert find(bare, "libx.so", cache) == names["cached"]
    assert find(bare, "libx.so", cache, (f"{tmp_path}/inherited",)) == names["inherited"]
    assert find(both, "libx.so", cache, (f"{tmp_path}/inherited",)) == names["runpath"]
    assert find(bare, "libnone.so", cache) is None


def test_origin_is_the_real_files_directory(tmp_path: Path) -> None:
    library = write(tmp_path / "app" / "lib" / "libx.so", elf())
    write(tmp_path / "app" / "bin" / "program", elf(runpath="${ORIGIN}/../lib"))
    (tmp_path / "link").symlink_to(tmp_path / "app" / "bin" / "program")
    found = find(str(tmp_path / "link"), "libx.so")
    assert found is not None and os.path.samefile(found, library)


def test_other_architectures_are_passed_over(tmp_path: Path) -> None:
    wrong = write(tmp_path / "wrong" / "libx.so", elf(machine=183))
    right = write(tmp_path / "right" / "libx.so", elf())
    program = write(tmp_path / "program", elf())
    assert find(program, "libx.so", {"libx.so": [wrong, right]}) == right


def test_the_cache_that_we_write_is_read_back() -> None:
    libraries = {"liba.so.2": "/opt/a/liba.so.2", "liba.so.10": "/opt/b/liba.so.10", "libz.so": "/z/libz.so"}
    assert parse_cache(encode_cache(libraries, X86_64)) == {name: [path] for name, path in libraries.items()}


def test_damaged_cache_is_empty(tmp_path: Path) -> None:
    whole = encode_cache({"liba.so": "/a/liba.so"}, X86_64)
    (tmp_path / "cache").write_bytes(whole[:60])
    assert read_cache(str(tmp_path / "cache")) == {}
    assert read_cache(str(tmp_path / "none")) == {}
    assert parse_cache(b"something else") == {}


@pytest.mark.skipif(shutil.which("ldconfig") is None, reason="the program ldconfig is not installed")
def test_ldconfig_agrees_with_our_cache(tmp_path: Path) -> None:
    """glibc's own tool lists this host's cache and the one that we write of it in the same order."""
    known = {name: paths[0] for name, paths in read_cache().items()}
    (tmp_path / "cache").write_bytes(encode_cache(known, X86_64))

    def names(*arguments: str) -> list[str]:
        out = subprocess.run(["ldconfig", "-p", *arguments], capture_output=True, text=True, check=True).stdout
        listed = [line.split()[0] for line in out.splitlines() if "=>" in line]
        return list(dict.fromkeys(name for name in listed if name in known))

    assert names("-C", str(tmp_path / "cache")) == names()
