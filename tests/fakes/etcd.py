"""A real etcd for tests: one member or several, killed, paused and woken at will.

    with cluster(directory) as etcd:
        store = await open_store(etcd.url())

Ports are free ones of the moment; data is below `directory`; nothing is left when the block ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port

# Elections in half of upstream's second, for tests that kill a leader; on a busy host shorter ones would never end.
FAST = ("--heartbeat-interval=50", "--election-timeout=500")
_WITHIN = 60.0  # seconds until a member answers, or one of them leads


class Member:
    """One etcd process. `host` is its address, `enter` runs a call where the process is to live."""

    def __init__(
        self,
        directory: Path,
        name: str,
        host: str,
        options: Sequence[str],
        enter: Enter,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.name = name
        self.host = host
        self.peer = f"http://{host}:{enter(lambda: free_port(host))}"
        self.client = f"{'https' if context else 'http'}://{host}:{enter(lambda: free_port(host))}"
        self._context = context
        self._directory = directory
        self._options = options
        self._enter = enter
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.client.partition("//")[2]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, members: Sequence[Member]) -> None:
        """Begin, or go on with the data of before; `ready` tells when it answers."""
        everybody = ",".join(f"{m.name}={m.peer}" for m in members)
        command = [
            "etcd", f"--name={self.name}", f"--data-dir={self._directory / self.name}",
            f"--listen-client-urls={self.client}", f"--advertise-client-urls={self.client}",
            f"--listen-peer-urls={self.peer}", f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={everybody}", "--logger=zap", "--log-level=error",
            "--max-request-bytes=4194304", *FAST, *self._options,
        ]  # fmt: skip
        with open(self._directory / f"{self.name}.log", "ab") as log:
            self._process = self._enter(
                lambda: subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            )

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """etcd's own answer, asked for without the driver; an error's document too."""
        request = urllib.request.Request(self.client + path, json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                found = json.load(error)
        return found

    def answers(self) -> bool:
        try:
            told = self._enter(lambda: self.call("/v3/kv/range", key="AA=="))
        except OSError:
            return False
        return "error" not in told or "user name is empty" in told["error"]  # it asks who we are: it is there

    def is_leader(self) -> bool:
        told = self._enter(lambda: self.call("/v3/maintenance/status"))
        return "error" not in told and bool(told["header"]["member_id"] == told.get("leader"))


Enter = Callable[[Callable[[], Any]], Any]


class Cluster:
    """The members, and the URL of a store on all of them."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = list(members)

    def start(self) -> None:
        for member in self.members:
            member.start(self.members)
        for member in self.members:
            ready(member)

    def restart(self, member: Member) -> None:
        """Start a killed member again and wait until it answers."""
        member.start(self.members)
        ready(member)

    def url(self, prefix: str = "", **options: object) -> str:
        hosts = ",".join(m.address for m in self.members)
        query = "&".join(f"{k}={v}" for k, v in options.items())
        return f"etcd://{hosts}{prefix}{'?' if query else ''}{query}"

    def leader(self) -> Member:
        """Who leads, once somebody does: an election may be under way."""
        end = time.monotonic() + _WITHIN
        while time.monotonic() < end:
            for member in self.members:
                with contextlib.suppress(OSError):
                    if member.is_leader():
                        return member
            time.sleep(0.01)
        raise AssertionError("no member of etcd leads")

    def close(self) -> None:
        for member in self.members:
            member.kill()  # SIGKILL ends a paused process too


def ready(member: Member) -> None:
    """Wait until the member takes part in the cluster."""
    end = time.monotonic() + _WITHIN
    while not member.answers():
        assert time.monotonic() < end, f"etcd {member.name} does not answer: {log_of(member)}"
        time.sleep(0.01)


def log_of(member: Member) -> str:
    return (member._directory / f"{member.name}.log").read_text()[-2000:]


@contextlib.contextmanager
def cluster(directory: Path, size: int = 1, *options: str) -> Iterator[Cluster]:
    """`size` members on loopback, started."""
    root = directory / "etcd"
    root.mkdir()
    etcd = Cluster([Member(root, f"m{n}", "127.0.0.1", options, lambda work: work()) for n in range(size)])
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.close()
