"""The way from a container's streams to its log: CRI lines, rotation, no byte lost or doubled by a kill anywhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.runtime.resident import output
from groundplane.runtime.resident.output import MAX_LINE, Recorder, cri_lines


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code under test catches it."""


def parse(text: bytes) -> dict[bytes, bytes]:
    """What readers make of a log: the bytes of each stream."""
    streams = {b"stdout": b"", b"stderr": b""}
    for line in text.splitlines(keepends=True):
        stamp, stream, tag, body = line.split(b" ", 3)
        assert len(stamp) == 30 and stamp.endswith(b"Z")
        assert len(body) <= MAX_LINE + 1
        streams[stream] += body if tag == b"F" else body[:-1]
    return streams


@pytest.mark.parametrize(
    ("data", "tags", "used"),
    [
        (b"one\ntwo\n", [b"F", b"F"], 8),
        (b"\n", [b"F"], 1),
        (b"no end", [], 0),
        (b"one\nrest", [b"F"], 4),
        (b"x" * MAX_LINE, [b"P"], MAX_LINE),
        (b"x" * MAX_LINE + b"\n", [b"P", b"F"], MAX_LINE + 1),
        (b"x" * (2 * MAX_LINE + 5) + b"\nend", [b"P", b"P", b"F"], 2 * MAX_LINE + 6),
    ],
)
def test_lines_are_cri_s(data: bytes, tags: list[bytes], used: int) -> None:
    text, count = cri_lines(1, data)
    assert count == used
    assert [line.split(b" ")[2] for line in text.splitlines()] == tags
    assert parse(text)[b"stdout"] == data[:used]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=40), st.integers(0, 40_000).map(lambda n: b"y" * n), st.just(b"\n"))),
    st.data(),
)
def test_text_cut_anywhere_takes_the_same_room(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    cut = data.draw(st.integers(0, len(whole)))
    first, used = cri_lines(2, whole[:cut])
    second, more = cri_lines(2, whole[used:])
    at_once, all_used = cri_lines(2, whole)
    assert used + more == all_used
    assert len(first) + len(second) == len(at_once)


class Killer:
    """Lets the recorder's system calls through until the n-th, where the process 'dies' before or after it."""

    CALLS = ("splice", "pread", "pwrite", "ftruncate", "rename", "unlink", "open")

    def __init__(self, patch: pytest.MonkeyPatch, at: int, *, before: bool) -> None:
        self.left = at
        self.before = before
        for name in self.CALLS:
            patch.setattr(output.os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call):  # type: ignore[no-untyped-def]
        def killing(*args, **kwargs):  # type: ignore[no-untyped-def]
            self.left -= 1
            if self.left == 0 and self.before:
                raise Killed
            result = call(*args, **kwargs)
            if self.left == 0:
                raise Killed
            return result

        return killing


@pytest.fixture
def fifos(tmp_path: Path) -> Iterator[dict[int, int]]:
    fds = {}
    for stream in (1, 2):
        os.mkfifo(tmp_path / str(stream))
        fds[stream] = os.open(tmp_path / str(stream), os.O_RDWR | os.O_NONBLOCK)
    yield fds
    for fd in fds.values():
        os.close(fd)


WRITES = [(1, b"first\n"), (2, b"err"), (1, b"z" * 40_000), (2, b"or\nlast"), (1, b"\nmore\n" * 300), (1, b"no end")]
EXPECTED = {name: b"".join(d for s, d in WRITES if s == n) for n, name in ((1, b"stdout"), (2, b"stderr"))}


def consume(directory: Path, fifos: dict[int, int], writes: list[tuple[int, bytes]]) -> None:
    """One supervisor's life: what is left of its predecessor, then each write as it comes, then the end."""
    recorder = Recorder(str(directory), str(directory / "log"), 20_000, 5)
    recorder.record()
    while True:
        busy = False
        for stream in fifos:
            busy |= bool(recorder.take(stream, fifos[stream]))
            recorder.record()
        if not busy and not writes:
            break
        if writes:
            stream, data = writes.pop(0)
            os.write(fifos[stream], data)
    recorder.finish()


def logged(directory: Path) -> bytes:
    names = sorted((n for n in os.listdir(directory) if n.startswith("log")), reverse=True)
    return b"".join((directory / n).read_bytes() for n in names)


@pytest.mark.parametrize("before", [True, False])
def test_a_kill_at_any_system_call_loses_and_doubles_nothing(
    tmp_path: Path, fifos: dict[int, int], before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "SPOOL_LIMIT", 10_000)  # so that spools are renewed within this little output
    real = {name: getattr(os, name) for name in Killer.CALLS}
    kills = 0
    for at in range(1, 400):
        directory = tmp_path / f"kill-{at}"
        directory.mkdir()
        writes = list(WRITES)
        killer = Killer(monkeypatch, at, before=before)
        try:
            consume(directory, fifos, writes)
        except Killed:
            kills += 1
        for name, call in real.items():
            monkeypatch.setattr(output.os, name, call)
        if killer.left > 0:
            break
        consume(directory, fifos, writes)
        assert parse(logged(directory)) == EXPECTED, f"killed at call {at}"
    assert kills > 50


def test_a_full_disk_delays_lines_and_loses_none(
    tmp_path: Path, fifos: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(str(tmp_path), str(tmp_path / "log"), 1 << 20, 5)
    os.write(fifos[1], b"one\ntwo\n")
    assert recorder.take(1, fifos[1]) == b"one\ntwo\n"
    real, log_fd = os.pwrite, recorder._log

    def full(fd: int, data: bytes, offset: int) -> int:
        if fd == log_fd:
            if len(data) < 50:
                raise OSError(28, "No space left on device")
            return real(fd, data[:50], offset)  # a part of it still fits
        return real(fd, data, offset)

    monkeypatch.setattr(output.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        recorder.record()
    assert (tmp_path / "log").read_bytes() == b""
    monkeypatch.setattr(output.os, "pwrite", real)
    recorder.record()
    assert parse((tmp_path / "log").read_bytes())[b"stdout"] == b"one\ntwo\n"


def test_logs_rotate_and_the_oldest_goes(tmp_path: Path, fifos: dict[int, int]) -> None:
    recorder = Recorder(str(tmp_path), str(tmp_path / "log"), 4_000, 3)
    for number in range(200):
        os.write(fifos[1], b"line %04d %s\n" % (number, b"." * 50))
        recorder.take(1, fifos[1])
        recorder.record()
    assert sorted(n for n in os.listdir(tmp_path) if n.startswith("log")) == ["log", "log.1", "log.2"]
    text = parse(logged(tmp_path))[b"stdout"].splitlines()
    assert text[-1].startswith(b"line 0199")
    assert [int(line[5:9]) for line in text] == list(range(200 - len(text), 200))
