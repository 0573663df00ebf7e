"""`kill -9` of the API server under load: what was answered as written is there, and nothing is given twice."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.ports import free_port
from tests.real.tls import wrapped_or_closed

from groundplane.client import kubeconfig

MAPS, SERVICES = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/services"


class Rig:
    """A server process over one root, and connections to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "groundplane.cli.main", "apiserver", "--root", str(self._root)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self._port)],
            env={**os.environ, "GROUND_RUN": f"{self._root}/run"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while True:
            assert self._process.poll() is None and time.monotonic() < end, "the API server did not start"
            with contextlib.suppress(OSError, http.client.HTTPException, kubeconfig.KubeconfigError):
                connection = self.connect()
                try:
                    connection.request("GET", "/readyz")
                    if connection.getresponse().read() == b"ok":
                        return
                finally:
                    connection.close()

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def connect(self) -> http.client.HTTPSConnection:
        access = kubeconfig.load(f"{self._root}/admin.kubeconfig")
        context = ssl.create_default_context(cadata=access.ca.decode())
        context.load_cert_chain(f"{self._root}/pki/admin.crt", f"{self._root}/pki/admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, timeout=60)
        with wrapped_or_closed():
            connection.connect()
        return connection


@contextlib.contextmanager
def rig(root: Path) -> Iterator[Rig]:
    found = Rig(root)
    try:
        yield found
    finally:
        found.kill()


def call(connection: http.client.HTTPSConnection, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = json.dumps(body).encode() if body is not None else None
    connection.request(method, path, data, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def write(server: Rig, number: int, written: dict[str, str], until: threading.Event) -> None:
    """Create objects until the server is gone; note each that was answered with 201, and its resource version."""
    count = 0
    with (
        contextlib.suppress(OSError, http.client.HTTPException, ValueError),
        contextlib.closing(server.connect()) as connection,
    ):
        while not until.is_set():
            name, count = f"w{number}-{count}", count + 1
            path, body = MAPS, {"metadata": {"name": name}}
            if count % 5 == 0:
                path, body = SERVICES, {**body, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
            code, made = call(connection, "POST", path, body)
            if code == 201:
                written[f"{path}/{name}"] = made["metadata"]["resourceVersion"]


def test_nothing_that_was_answered_is_lost(state_root: Path) -> None:
    with rig(state_root) as server:
        written: dict[str, str] = {}
        for round_ in range(2):
            server.start()
            enough = threading.Event()
            writers = [
                threading.Thread(target=write, args=(server, 10 * round_ + n, written, enough)) for n in range(4)
            ]
            for writer in writers:
                writer.start()
            before, end = len(written), time.monotonic() + 120
            while len(written) < before + 100 and time.monotonic() < end:
                enough.wait(0.01)
            server.kill()
            enough.set()
            for writer in writers:
                writer.join()
            assert len(written) >= before + 100
        server.start()
        connection = server.connect()
        try:
            found: dict[str, str] = {}
            addresses: list[str] = []
            ports: list[int] = []
            for path in (MAPS, SERVICES):
                listed = call(connection, "GET", path)[1]
                for item in listed["items"]:
                    found[f"{path}/{item['metadata']['name']}"] = item["metadata"]["resourceVersion"]
                    if path == SERVICES:
                        addresses.append(item["spec"]["clusterIP"])
                        ports += [p["nodePort"] for p in item["spec"]["ports"] if "nodePort" in p]
            assert written.items() <= found.items()
            assert len(set(addresses)) == len(addresses) and len(set(ports)) == len(ports)
            made = call(connection, "POST", MAPS, {"metadata": {"name": "last"}})[1]
            assert int(made["metadata"]["resourceVersion"]) > max(int(v) for v in written.values())
        finally:
            connection.close()
