"""A container as a service manager starts it: readiness over NOTIFY_SOCKET; and hooks once the program runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.bundles import Box, CommandLine

pytestmark = pytest.mark.needs("root", "cgroups", "busybox")


@pytest.fixture
def manager(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(box.directory / "manager"))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(box.directory / "manager"))
        yield listener


_SEND = """\
import os, socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for text in (b"STATUS=not yet\\n", b"MAINPID=1\\nREADY=1\\nX=y\\n"):
    s.sendto(text, os.environ["NOTIFY_SOCKET"])
"""


@pytest.fixture
def service(box: Box) -> Box:
    """A box with the host's Python, to send datagrams with."""
    if not os.path.exists("/usr/bin/python3"):
        pytest.skip("no /usr/bin/python3 to send a datagram with")
    for name in ("usr", "lib", "lib64"):
        if os.path.isdir(f"/{name}"):
            box.mount(f"/{name}", "bind", f"/{name}", "rbind", "ro")
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.write("/bin/send", _SEND)
    box.process["args"] = ["sh", "-c", "/usr/bin/python3 -ISB /bin/send; exec sleep 60"]
    box.save()
    return box


def test_start_waits_until_the_service_is_ready(service: Box, ground: CommandLine, manager: socket.socket) -> None:
    """Only READY is passed on, and the main process is named as the host counts."""
    assert ground("create", "c", cwd=service.directory).returncode == 0
    done = ground("start", "c")
    assert done.returncode == 0, done.stderr
    pid = json.loads(ground("state", "c").stdout)["pid"]
    assert manager.recv(1000) == f"READY=1\nMAINPID={pid}\n".encode()
    inside = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"NOTIFY_SOCKET=/run/notify/notify.sock" in inside
    assert not any(str(service.directory).encode() in entry for entry in inside)


def test_run_detached_waits_too(service: Box, ground: CommandLine, manager: socket.socket) -> None:
    assert ground("run", "--detach", "c", cwd=service.directory).returncode == 0
    assert manager.recv(1000).startswith(b"READY=1\nMAINPID=")


def test_run_passes_on_while_it_stays(service: Box, ground: CommandLine, manager: socket.socket) -> None:
    service.process["args"][2] = service.process["args"][2].replace("exec sleep 60", "exit 6")
    service.save()
    assert ground("run", "c", cwd=service.directory).returncode == 6
    assert manager.recv(1000) == b"READY=1\n"


def test_a_service_that_ends_before_it_is_ready(service: Box, ground: CommandLine, manager: socket.socket) -> None:
    service.process["args"] = ["true"]
    service.save()
    assert ground("run", "--detach", "c", cwd=service.directory).returncode == 0
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


def test_without_a_manager_there_is_no_socket(box: Box, ground: CommandLine) -> None:
    box.process["args"] = ["sh", "-c", "ls /run/notify; echo $NOTIFY_SOCKET"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert "No such file" in done.stderr
    assert done.stdout == "\n"


@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_failing_poststart_hook_ends_the_container(box: Box, ground: CommandLine, verb: str) -> None:
    """runtime.md, "Lifecycle", 9: an error, and the container is stopped; and step 13 in the end."""
    mark = box.directory / "mark"
    box.process["args"] = ["sleep", "60"]
    box.config["hooks"] = {
        "poststart": [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(mark)]}],
    }
    box.save()
    if verb == "start":
        assert ground("create", "c", cwd=box.directory).returncode == 0
        done = ground("start", "c")
        assert json.loads(ground("state", "c").stdout)["status"] == "stopped"
        assert ground("delete", "c").returncode == 0
    else:
        done = ground("run", "c", cwd=box.directory)
        assert ground("list", "-q").stdout == ""
    assert done.returncode == 1
    assert "error running poststart hook #0: exit status 1" in done.stderr
    assert mark.exists()


def test_a_failing_start_hook_ends_a_run(box: Box, ground: CommandLine) -> None:
    mark = box.directory / "mark"
    box.config["hooks"] = {
        "startContainer": [{"path": "/bin/nosuch"}],
        "poststop": [{"path": "/bin/touch", "args": ["touch", str(mark)]}],
    }
    box.process["args"] = ["true"]
    box.save()
    done = ground("run", "c", cwd=box.directory)
    assert done.returncode == 1
    assert "error running startContainer hook #0: fork/exec /bin/nosuch: no such file" in done.stderr
    assert mark.exists()


def test_nothing_of_a_stopped_service_stays(service: Box, ground: CommandLine, manager: socket.socket) -> None:
    ground("run", "--detach", "c", cwd=service.directory)
    assert ground("delete", "--force", "c").returncode == 0
    assert subprocess.run(["ls", str(service.directory / "state")], capture_output=True, check=True).stdout == b""
