"""Every parser of outside bytes about images and the engine's door: accepted, or its one documented error."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.images import directory, hard_link, member, symlink, tar

from groundplane.base.errors import GroundError
from groundplane.base.jsonyaml import dumps
from groundplane.cli.template import Template, TemplateError
from groundplane.dockerapi.create import container_spec
from groundplane.dockerapi.errors import NotOffered
from groundplane.engine.contract import BadParameter, ContainerSpec
from groundplane.engine.images.from_host.elf import BadElf, parse_elf
from groundplane.engine.images.from_host.libraries import parse_cache
from groundplane.engine.snapshots.contract import SnapshotError
from groundplane.engine.snapshots.unpack import unpack
from groundplane.oci.image import ImageDocumentError, read_index, read_manifest
from groundplane.oci.image_config import read_config
from groundplane.oci.image_layer import Entry, Kind, LayerReader, encode_header
from groundplane.oci.image_names import BadReference, parse_reference
from groundplane.wire.dockerstream import BadFrame, FrameDecoder, encode_frame

FUZZ = settings(max_examples=300, derandomize=True, deadline=None, database=None)
SLOW = settings(max_examples=60, derandomize=True, deadline=None, database=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def documents(*keys: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have the keys a reader looks for, with any values."""
    return st.dictionaries(st.sampled_from(keys), json_values, max_size=len(keys))


@FUZZ
@given(st.binary(max_size=200) | documents("schemaVersion", "mediaType", "config", "layers", "manifests").map(dumps))
def test_manifests(data: bytes) -> None:
    for read in (read_manifest, read_index):
        try:
            read(data)
        except ImageDocumentError:
            pass


@FUZZ
@given(
    documents("rootfs", "config", "architecture", "os", "created", "history"), documents("Env", "Cmd", "Labels", "User")
)
def test_configurations(document: dict[str, Any], inner: dict[str, Any]) -> None:
    for value in (document, {**document, "config": inner, "rootfs": {"type": "layers", "diff_ids": []}}):
        try:
            read_config(dumps(value))
        except ImageDocumentError:
            pass


@FUZZ
@given(st.text(max_size=40) | st.text("aA0/.:@-_[]", max_size=20))
def test_names(text: str) -> None:
    try:
        reference = parse_reference(text)
    except BadReference:
        return
    assert parse_reference(reference.full) == reference
    assert parse_reference(reference.familiar) == reference


GOOD = tar(directory("d"), member("d/f", b"x" * 700), symlink("l", "d/f"), member("ü" * 120, b"y"))


def read_all(data: bytes) -> None:
    stream = io.BytesIO(data)
    reader = LayerReader(stream.read)
    while reader.next() is not None:
        for _ in reader.data():
            pass


@FUZZ
@given(st.binary(max_size=2000))
def test_tars_of_any_bytes(data: bytes) -> None:
    try:
        read_all(data)
    except ImageDocumentError:
        pass


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, len(GOOD)),
)
def test_damaged_tars(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    for block in range(0, len(data), 512):  # with its checksum put right, so that the damage gets further
        if data[block + 257 : block + 262] == b"ustar":
            data[block + 148 : block + 156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    for candidate in (bytes(data), bytes(data[:cut])):
        try:
            read_all(candidate)
        except ImageDocumentError:
            pass


names = st.text("ab/.", min_size=1, max_size=8) | st.sampled_from([".wh.a", "a/.wh..wh..opq", ".wh.", "b/.wh.a", "/"])
members = st.one_of(
    st.tuples(names, st.binary(max_size=4)).map(lambda v: member(*v)),
    names.map(directory),
    st.tuples(names, names | st.sampled_from(["/", "../..", "/tmp"])).map(lambda v: symlink(*v)),
    st.tuples(names, names).map(lambda v: hard_link(*v)),
    names.map(lambda name: member(name, type=tarfile.FIFOTYPE)),
)


@pytest.mark.needs("root")
@SLOW
@given(st.lists(members, max_size=8), st.lists(members, max_size=8))
def test_layers_of_any_members_stay_inside(below: list[Any], above: list[Any]) -> None:
    top = tempfile.mkdtemp(prefix="ground-test-", dir="/tmp")
    try:
        os.makedirs(f"{top}/canary/a/b")
        lowers: list[str] = []
        for number, layer in enumerate((below, above)):
            os.makedirs(target := f"{top}/{number}/fs")
            try:
                unpack(LayerReader(io.BytesIO(tar(*layer)).read), target, lowers)
            except (SnapshotError, ImageDocumentError):
                break
            lowers.insert(0, target)
        assert set(os.listdir(top)) <= {"canary", "0", "1"}
        assert os.listdir(f"{top}/canary/a/b") == [] and os.listdir(f"{top}/canary") == ["a"]
        assert all(set(os.listdir(f"{top}/{n}")) <= {"fs", "fs.cleared"} for n in os.listdir(top) if n != "canary")
    finally:
        shutil.rmtree(top)


@FUZZ
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=150).filter(
        lambda n: n.strip("/")
    ),
    st.integers(0, 2**32 - 2),
    st.integers(-(2**31), 2**34 - 1),
    st.dictionaries(st.text("abc.", min_size=1, max_size=9), st.binary(max_size=30), max_size=2),
)
def test_entries_come_back(name: str, uid: int, mtime: int, xattrs: dict[str, bytes]) -> None:
    entry = Entry(name.rstrip("/"), Kind.FILE, 0o644, uid=uid, mtime=mtime, xattrs=xattrs)
    assert LayerReader(io.BytesIO(encode_header(entry)).read).next() == entry


@FUZZ
@given(st.binary(max_size=300))
def test_elf(data: bytes) -> None:
    for candidate in (data, b"\x7fELF\2\1" + data, b"\x7fELF\1\2" + data):

        def read_at(offset: int, size: int, source: bytes = candidate) -> bytes:
            return source[offset : offset + size]

        try:
            parse_elf(read_at)
        except BadElf:
            pass


@FUZZ
@given(st.binary(max_size=200))
def test_linker_caches(data: bytes) -> None:
    import struct

    for candidate in (data, b"glibc-ld.so.cache1.1" + data, b"ld.so-1.7.0\0" + data):
        try:
            parse_cache(candidate)
        except struct.error:
            pass


@FUZZ
@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=40)), max_size=6), st.integers(1, 30))
def test_frames_in_any_pieces(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(encode_frame(stream, piece) for stream, piece in frames)
    decoder = FrameDecoder()
    out = [found for at in range(0, len(data), size) for found in decoder.feed(data[at : at + size])]
    assert decoder.between_frames
    for wanted in range(4):
        assert b"".join(d for s, d in out if s == wanted) == b"".join(d for s, d in frames if s == wanted)


@FUZZ
@given(st.binary(max_size=60))
def test_frames_of_any_bytes(data: bytes) -> None:
    try:
        FrameDecoder().feed(data)
    except BadFrame:
        pass


@FUZZ
@given(
    documents("Image", "Cmd", "Entrypoint", "Env", "Labels", "User", "Tty", "HostConfig", "StopTimeout", "Volumes"),
    documents(
        "Binds", "Mounts", "Tmpfs", "NetworkMode", "Memory", "NanoCpus", "Ulimits", "Devices", "SecurityOpt", "Init"
    ),
)
def test_create_requests(body: dict[str, Any], host: dict[str, Any]) -> None:
    for request in (body, {**body, "Image": "x", "HostConfig": host}):
        try:
            assert isinstance(container_spec("name", request), ContainerSpec)
        except (BadParameter, NotOffered):
            pass


@FUZZ
@given(
    st.text(max_size=30)
    | st.text('{}.$|()"ab -range if end json index len', max_size=40).map(lambda t: "{{" + t + "}}")
)
def test_templates(source: str) -> None:
    try:
        Template(source).render({"a": {"b": [1, "x"]}, "b": None})
    except TemplateError as error:
        assert isinstance(error, GroundError)
