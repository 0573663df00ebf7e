"""The raw client against answers as servers write them, whole, in pieces, and broken."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from groundplane.base.errors import GroundError
from groundplane.cli.api import Api, ApiError, EngineDown
from groundplane.cli.http import ProtocolError, Response, quote, send, target
from groundplane.cli.place import Place


@contextmanager
def answering(*pieces: bytes, after: int = 0) -> Iterator[tuple[str, list[bytes]]]:
    """A socket whose one client gets these pieces, `after` others whose connection is closed; what they sent."""
    received: list[bytes] = []
    with (
        tempfile.TemporaryDirectory(prefix="ground-test-", dir="/tmp") as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = f"{directory}/ground.sock"
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            for _ in range(after):
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(65536))
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(65536))
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield path, received
        finally:
            thread.join(10)


def read(*pieces: bytes) -> tuple[int, bytes]:
    with answering(*pieces) as (path, _):
        response = Response(send(path, "GET", "/"))
        return response.status, response.read()


def test_every_kind_of_body() -> None:
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") == (200, b"hello")
    assert read(b"HTTP/1.1 200 OK\r\n\r\nuntil ", b"the end") == (200, b"until the end")
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n") == (204, b"")
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
    assert read(chunked) == (200, b"hello world")
    assert read(*(bytes((byte,)) for byte in chunked)) == (200, b"hello world")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"x" * 70000,
    ],
)
def test_broken_answers_are_one_error(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(answer)


def test_lines_and_hijack() -> None:
    with answering(b"HTTP/1.1 200 OK\r\n\r\none\ntw", b"o\nrest") as (path, _):
        response = Response(send(path, "GET", "/"))
        assert list(response.lines()) == [b"one", b"two", b"rest"]
        response.close()
    with answering(b"HTTP/1.1 101 UPGRADED\r\n\r\nearly") as (path, received):
        connection, rest = Response(send(path, "POST", "/x", b"{}", upgrade=True)).hijack()
        connection.close()
        assert rest == b"early"
    assert b"Upgrade: tcp" in received[0] and received[0].endswith(b"Content-Length: 2\r\n\r\n{}")


def test_targets_are_encoded() -> None:
    assert target("/images/a/b:1/json", {"filters": '{"a b": 1}', "none": ""}) == (
        "/images/a/b:1/json?filters=%7B%22a%20b%22%3A%201%7D"
    )
    assert quote("ü ?&#\n") == "%C3%BC%20%3F%26%23%0A"


def api(path: str) -> Api:
    return Api(Place(run=os.path.dirname(path)), start=False)


def test_errors_carry_the_engines_sentence() -> None:
    body = b'{"message":"No such container: x"}'
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with answering(answer) as (path, _), pytest.raises(ApiError) as caught:
        api(path).json("GET", "/x")
    assert (caught.value.status, str(caught.value)) == (404, "Error response from daemon: No such container: x")
    with answering(b"HTTP/1.1 500 X\r\n\r\nplain words") as (path, _), pytest.raises(ApiError, match="plain words"):
        api(path).json("GET", "/x")


def test_without_an_engine() -> None:
    with pytest.raises(EngineDown, match="no engine is running here"):
        api("/nowhere/ground.sock").json("GET", "/version")


def test_an_engine_that_ends_before_it_answers_is_asked_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with answering(answer, after=1) as (path, received):
        assert api(path).json("GET", "/info") == {}
        assert len(received) == 2


def test_what_would_change_something_is_not_sent_twice() -> None:
    with answering() as (path, received):
        with pytest.raises(GroundError, match="the engine did not answer"):
            api(path).open("POST", "/containers/c/start")
        assert len(received) == 1
