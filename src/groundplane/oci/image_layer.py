"""A layer's tar: entries to bytes and bytes to entries, as a stream.

OCI image-spec 1.1 layer.md; POSIX.1-2001 pax interchange format over ustar, read with GNU's extensions (long names,
base-256 numbers), written as ustar with a pax header only where ustar cannot say it, so that equal entries are equal
bytes. Names are file system strings (surrogateescape). Extended attributes are `SCHILY.xattr.` records, as GNU tar,
star, Go and libarchive write them. Sparse files are refused: no layer writer makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from groundplane.oci.image import ImageDocumentError

BLOCK = 512
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"

_MAX_HEADER = 1 << 20  # a pax or long-name record; the kernel's PATH_MAX is 4096, one xattr at most 64 KiB
_OCTAL_7 = 0o7777777
_OCTAL_11 = 0o77777777777
_XATTR = b"SCHILY.xattr."


class Kind(Enum):
    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHAR = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_KINDS: Mapping[bytes, Kind] = {kind.value: kind for kind in Kind} | {b"\0": Kind.FILE, b"7": Kind.FILE}


@dataclass(frozen=True, slots=True)
class Entry:
    """One member. `size` is of the data that follows (files only); `link` is where links point; mtime in seconds."""

    name: str
    kind: Kind = Kind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def encode_header(entry: Entry) -> bytes:
    """The header block(s) of an entry; its data follows, padded with `padding(size)`."""
    name = entry.name.encode("utf-8", "surrogateescape")
    link = entry.link.encode("utf-8", "surrogateescape")
    if entry.kind is Kind.DIRECTORY and not name.endswith(b"/"):
        name += b"/"
    pax: list[tuple[bytes, bytes]] = []
    if len(name) > 100 or not name.isascii():
        pax.append((b"path", name))
    if len(link) > 100 or not link.isascii():
        pax.append((b"linkpath", link))
    for key, value, limit in ((b"uid", entry.uid, _OCTAL_7), (b"gid", entry.gid, _OCTAL_7)):
        if value > limit:
            pax.append((key, b"%d" % value))
    for key, value in ((b"size", entry.size), (b"mtime", entry.mtime)):
        if not 0 <= value <= _OCTAL_11:
            pax.append((key, b"%d" % value))
    pax += [(_XATTR + k.encode("utf-8", "surrogateescape"), v) for k, v in sorted(entry.xattrs.items())]
    header = _block(entry, name, link, entry.kind.value)
    if not pax:
        return header
    body = b"".join(_pax_record(key, value) for key, value in pax)
    extended = _block(Entry("", size=len(body)), b"PaxHeaders/" + name[-80:].lstrip(b"/"), b"", b"x")
    return extended + body + padding(len(body)) + header


def padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def end_of_archive() -> bytes:
    return bytes(2 * BLOCK)


def _block(entry: Entry, name: bytes, link: bytes, kind: bytes) -> bytes:
    fields = b"".join(
        (
            _ascii(name)[:100].ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if entry.uid <= _OCTAL_7 else 0),
            b"%07o\0" % (entry.gid if entry.gid <= _OCTAL_7 else 0),
            b"%011o\0" % (entry.size if entry.size <= _OCTAL_11 else 0),
            b"%011o\0" % (entry.mtime if 0 <= entry.mtime <= _OCTAL_11 else 0),
            b" " * 8,  # the checksum counts its own field as blanks
            kind,
            _ascii(link)[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),  # user and group names: numbers are what counts
            b"%07o\0" % entry.major,
            b"%07o\0" % entry.minor,
        )
    ).ljust(BLOCK, b"\0")
    return fields[:148] + b"%06o\0 " % sum(fields) + fields[156:]


def _ascii(name: bytes) -> bytes:
    return name if name.isascii() else bytes(c if c < 128 else 95 for c in name)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH key=value\\n`, where LENGTH counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


class LayerReader:
    """Reads a tar from `read(n)` (at most n bytes, empty at the end), entry by entry, each one's data before the next.

    Raises ImageDocumentError for bytes that are not such a tar, also where it ends too early.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0  # of the current entry's data
        self._pad = 0
        self._global: dict[bytes, bytes] = {}

    def next(self) -> Entry | None:
        """The next member; None at the end-of-archive mark or the end of input."""
        for _ in self.data():
            pass
        pax = dict(self._global)
        while True:
            block = self._block()
            if block is None:
                return None
            kind = block[156:157]
            if kind in (b"x", b"g"):
                records = _read_pax(self._small_body(block))
                (self._global if kind == b"g" else pax).update(records)
                if kind == b"g":
                    pax = {**self._global, **pax}
            elif kind == b"L":
                pax[b"path"] = self._small_body(block).rstrip(b"\0")
            elif kind == b"K":
                pax[b"linkpath"] = self._small_body(block).rstrip(b"\0")
            else:
                entry = _entry(block, pax)
                self._left = entry.size if entry.kind is Kind.FILE else 0
                self._pad = -self._left % BLOCK
                return entry

    def data(self, chunk: int = 1 << 20) -> Iterator[bytes]:
        """The current file's data, once."""
        while self._left:
            piece = self._read(min(chunk, self._left))
            if not piece:
                raise ImageDocumentError("layer: the tar ends in the middle of a file")
            self._left -= len(piece)
            yield piece
        if self._pad:
            pad, self._pad = self._pad, 0
            self._exactly(pad, "a file's padding")

    def _block(self) -> bytes | None:
        """The next header block; None at the end."""
        block = self._up_to(BLOCK)
        if not block or block == bytes(BLOCK):
            return None
        if len(block) < BLOCK:
            raise ImageDocumentError("layer: the tar ends in the middle of a header")
        stored = _number(block[148:156], "checksum")
        # Old tars summed signed bytes; those of today's writers are unsigned and the only ones accepted.
        if stored != sum(block) - sum(block[148:156]) + 8 * 32:
            raise ImageDocumentError("layer: a header's checksum is wrong: this is not a tar, or a damaged one")
        return block

    def _small_body(self, block: bytes) -> bytes:
        size = _number(block[124:136], "size")
        if not 0 <= size <= _MAX_HEADER:
            raise ImageDocumentError(f"layer: an extended header of {size} bytes is larger than allowed")
        body = self._exactly(size, "an extended header")
        self._exactly(-size % BLOCK, "an extended header")
        return body

    def _exactly(self, size: int, what: str) -> bytes:
        data = self._up_to(size)
        if len(data) < size:
            raise ImageDocumentError(f"layer: the tar ends in the middle of {what}")
        return data

    def _up_to(self, size: int) -> bytes:
        data = self._read(size) if size else b""
        while 0 < len(data) < size:
            more = self._read(size - len(data))
            if not more:
                break
            data += more
        return data


def _entry(block: bytes, pax: Mapping[bytes, bytes]) -> Entry:
    kind = _KINDS.get(block[156:157])
    if kind is None or any(key.startswith(b"GNU.sparse.") for key in pax):
        what = "a sparse file" if kind or block[156:157] == b"S" else f"a member of type {block[156:157]!r}"
        raise ImageDocumentError(f"layer: {what} is not offered in a layer")
    name = pax.get(b"path") or _name(block)
    if kind is Kind.FILE and name.endswith(b"/"):  # v7 tar had no type for directories
        kind = Kind.DIRECTORY
    link = pax.get(b"linkpath") or block[157:257].partition(b"\0")[0]
    if b"\0" in name or b"\0" in link or not name:
        raise ImageDocumentError("layer: a member's name is empty or has a zero byte")
    size = _pax_number(pax, b"size", block[124:136])
    if size < 0:
        raise ImageDocumentError("layer: a member's size is negative")
    device = kind in (Kind.CHAR, Kind.BLOCK_DEVICE)
    return Entry(
        name=_text(name),
        kind=kind,
        mode=_number(block[100:108], "mode") & 0o7777,
        uid=_id(_pax_number(pax, b"uid", block[108:116])),
        gid=_id(_pax_number(pax, b"gid", block[116:124])),
        size=size if kind is Kind.FILE else 0,
        mtime=_mtime(_pax_number(pax, b"mtime", block[136:148])),
        link=_text(link),
        major=_number(block[329:337], "device") if device else 0,
        minor=_number(block[337:345], "device") if device else 0,
        xattrs={_text(key[len(_XATTR) :]): value for key, value in pax.items() if key.startswith(_XATTR)},
    )


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    # Only POSIX ustar has a prefix; old GNU ("ustar  \0") keeps times there.
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes, what: str) -> int:
    """Octal text, or base-256 where the first bit is set (GNU; two's complement)."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=False) & (1 << (8 * len(field) - 1)) - 1
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    text = field.partition(b"\0")[0].strip(b" ")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise ImageDocumentError(f"layer: a header's {what} is not an octal number: {field!r}") from None


def _pax_number(pax: Mapping[bytes, bytes], key: bytes, field: bytes) -> int:
    if (value := pax.get(key)) is None:
        return _number(field, key.decode())
    try:
        return int(value.partition(b".")[0])  # a time may have a fraction; whole seconds are kept
    except ValueError:
        raise ImageDocumentError(f"layer: the pax record {key.decode()} is not a number: {value[:40]!r}") from None


def _id(value: int) -> int:
    if not 0 <= value < (1 << 32) - 1:  # -1 means "leave as it is" to chown(2)
        raise ImageDocumentError(f"layer: {value} is not a user or group id")
    return value


def _mtime(value: int) -> int:
    # ext4 with 256-byte inodes ends in 2446; a time outside what utimensat(2) takes is not worth an image
    return max(-(1 << 31), min(value, (1 << 34) - 1))


def _read_pax(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    while body:
        digits, _, _ = body.partition(b" ")
        if not digits.isdigit() or len(digits) > 8:
            raise ImageDocumentError("layer: a pax record does not begin with its length")
        length = int(digits)
        record = body[len(digits) + 1 : length]
        if length > len(body) or length <= len(digits) + 1 or body[length - 1 : length] != b"\n":
            raise ImageDocumentError("layer: a pax record's length is wrong")
        key, equals, value = record[:-1].partition(b"=")
        if not equals or not key:
            raise ImageDocumentError("layer: a pax record has no `=`")
        records[key] = value
        body = body[length:]
    return records
