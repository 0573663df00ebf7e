"""kubectl logs and exec through the API server to a node: websockets with new clients, SPDY with old ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.node import FakeNode
from tests.foreign.api_server import Running, running
from tests.foreign.test_kubectl_api import other

pytestmark = pytest.mark.needs("kubectl")

WORLD = """
{"apiVersion": "v1", "kind": "List", "items": [
  {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
  {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}]}
"""
POD = """
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
 "spec": {"nodeName": "n1", "automountServiceAccountToken": false, "containers": [{"name": "c", "image": "x"}]}}
"""


@pytest.fixture
def node() -> FakeNode:
    return FakeNode([b"one\n", b"two\n"])


@pytest.fixture
def server(state_root: Path, node: FakeNode) -> Iterator[Running]:
    with running(state_root, node) as found:
        found.run("kubectl", "create", "-f", "-", stdin=WORLD)
        found.run("kubectl", "create", "-f", "-", stdin=POD)
        found.run("kubectl", "patch", "pod", "p", "--subresource=status", "-p", '{"status":{"phase":"Running"}}')
        yield found


def test_logs(server: Running, node: FakeNode) -> None:
    assert server.run("kubectl", "logs", "p", "--tail=5", "-f").stdout == "one\ntwo\n"
    assert node.queries[0] == {"tailLines": "5", "follow": "true"}
    refused = server.run("kubectl", "logs", "p", "-c", "nope", ok=False)
    assert "container nope is not valid for pod p" in refused.stderr


@pytest.mark.parametrize("version", ["1.27", "1.30", "1.32", "1.33"])
def test_exec(server: Running, node: FakeNode, version: str) -> None:
    program = other(version)
    done = server.run(program, "exec", "p", "--", "both", "out", "err")
    assert (done.stdout, done.stderr) == ("out", "err")
    assert server.run(program, "exec", "-i", "p", "--", "cat", stdin="x" * 300_000).stdout == "x" * 300_000
    failed = server.run(program, "exec", "p", "--", "exit", "3", ok=False)
    assert failed.returncode == 3
    assert all(process.closed.wait(60) for process in node.started)


def test_exec_needs_a_container_that_is_there(server: Running, node: FakeNode) -> None:
    refused = server.run("kubectl", "exec", "p", "-c", "nope", "--", "cat", ok=False)
    assert "container nope" in refused.stderr
    assert node.started == []


@pytest.mark.parametrize("version", ["1.27", "1.32"])
def test_a_terminals_size_arrives(server: Running, version: str) -> None:
    """kubectl -it, on a terminal of ours, tells its rows and columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    process = subprocess.Popen(
        [other(version), "exec", "-it", "p", "--", "size"],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **server.environment}, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    try:
        assert process.wait(60) == 0
        with contextlib.suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(ours, 1024):
                seen += piece
    finally:
        process.kill()
        os.close(ours)
    assert b"33x101" in seen
