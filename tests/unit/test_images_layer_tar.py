"""The layer format: our writer against Python's tarfile, Python's and GNU's forms against our reader."""

from __future__ import annotations

import io
import tarfile

import pytest

from groundplane.oci.image import ImageDocumentError
from groundplane.oci.image_layer import Entry, Kind, LayerReader, encode_header, end_of_archive, padding

ENTRIES = [
    Entry("usr", Kind.DIRECTORY, 0o755, mtime=1),
    Entry("usr/file", mode=0o4755, uid=3, gid=4, size=5, mtime=1_700_000_000),
    Entry("usr/link", Kind.SYMLINK, 0o777, link="../ü/" + "x" * 120),
    Entry("usr/hard", Kind.HARD_LINK, link="usr/file"),
    Entry("dev/null", Kind.CHAR, 0o666, major=1, minor=3),
    Entry("pipe", Kind.FIFO, 0o600),
    Entry("long/" + "n" * 200, uid=3_000_000, size=5),
    Entry("ping", mode=0o755, size=5, xattrs={"security.capability": b"\1\0\0\2\n=\0"}),
    Entry("bytes\udcff", size=5),
]


def encode(entries: list[Entry], data: bytes = b"hello") -> bytes:
    out = b""
    for entry in entries:
        out += encode_header(entry) + (data + padding(len(data)) if entry.kind is Kind.FILE else b"")
    return out + end_of_archive()


def read(data: bytes, chunk: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    stream = io.BytesIO(data)
    reader = LayerReader(lambda n: stream.read(min(n, chunk)))
    found = []
    while (entry := reader.next()) is not None:
        found.append((entry, b"".join(reader.data())))
    return found


@pytest.mark.parametrize("chunk", [1 << 20, 100, 1])
def test_entries_come_back(chunk: int) -> None:
    found = read(encode(ENTRIES), chunk)
    assert [entry for entry, _ in found] == [
        Entry(**{**_fields(e), "name": e.name + "/"}) if e.kind is Kind.DIRECTORY else e for e in ENTRIES
    ]
    assert all(data == b"hello" for entry, data in found if entry.kind is Kind.FILE)


def _fields(entry: Entry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in Entry.__slots__}


def test_tarfile_reads_what_we_write() -> None:
    with tarfile.open(fileobj=io.BytesIO(encode(ENTRIES))) as tar:
        members = {member.name: member for member in tar}
    assert members["usr/file"].mode == 0o4755 and members["usr/file"].mtime == 1_700_000_000
    assert members["usr/link"].linkname == "../ü/" + "x" * 120
    assert members["long/" + "n" * 200].uid == 3_000_000
    assert members["dev/null"].ischr() and (members["dev/null"].devmajor, members["dev/null"].devminor) == (1, 3)
    assert "SCHILY.xattr.security.capability" in members["ping"].pax_headers


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_we_read_what_tarfile_writes(form: int) -> None:
    out = io.BytesIO()
    name = "d/" + "n" * 90 + "/f" if form == tarfile.USTAR_FORMAT else "d/" + "ü" * 150
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for path, data in ((name, b"x" * 1000), ("b", b"")):
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(data), 77
            if form != tarfile.USTAR_FORMAT:
                info.uid = 1 << 24  # GNU writes it in base 256, pax as a record
            tar.addfile(info, io.BytesIO(data))
    found = read(out.getvalue())
    assert [(e.name, e.mtime, len(d)) for e, d in found] == [(name, 77, 1000), ("b", 77, 0)]
    assert {e.uid for e, _ in found} == {0 if form == tarfile.USTAR_FORMAT else 1 << 24}


def test_equal_entries_are_equal_bytes() -> None:
    assert encode(ENTRIES) == encode(list(ENTRIES))


def corrupt(data: bytes, at: int, new: bytes) -> bytes:
    """Replace bytes of the first header and put its checksum right."""
    block = bytearray(data[:512])
    block[at : at + len(new)] = new
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(ENTRIES)[:600], "ends in the middle of"),
        (encode([Entry("a", size=5)])[:515], "ends in the middle of a file"),
        (b"x" * 512, "checksum"),
        (b"x" * 100, "ends in the middle of a header"),
        (corrupt(encode([Entry("a", size=5)]), 156, b"S"), "a sparse file"),
        (corrupt(encode([Entry("a", size=5)]), 156, b"Z"), "a member of type"),
        (corrupt(encode([Entry("a", size=5)]), 0, b"\0"), "name is empty"),
        (corrupt(encode([Entry("a", size=5)]), 124, b"\xff" * 12), "size is negative"),
        (corrupt(encode([Entry("a", size=5)]), 124, b"99999999999\0"), "not an octal number"),
        (corrupt(encode([Entry("a", size=5)]), 108, b"\x80\0\0\0\xff\xff\xff\xff"), "not a user or group id"),
        (corrupt(encode([Entry("a", size=5)]), 156, b"x"), "does not begin with its length"),
    ],
)
def test_damaged_tars_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(ImageDocumentError) as caught:
        read(data)
    assert words in str(caught.value)


def test_huge_extended_header_is_refused() -> None:
    header = corrupt(encode_header(Entry("a", size=0)), 124, b"77777777777\0")
    with pytest.raises(ImageDocumentError, match="larger than allowed"):
        read(corrupt(header, 156, b"L"))
