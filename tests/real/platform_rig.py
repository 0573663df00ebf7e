"""A whole platform as a user has it: `ground up` on a network host of its own, with a client that any test can use."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from tests.fakes.net_host import NetHost
from tests.real import leaks
from tests.real.tls import wrapped_or_closed

from groundplane.kernel.netlink.channel import NETFILTER, Channel
from groundplane.kernel.nftables.listing import tables

T = TypeVar("T")
Object = dict[str, Any]
DEADLINE = 60.0


def until(look: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Look again and again until the answer is true; fails with `what` and the last answer at the deadline."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s; last seen: {found!r}"
        time.sleep(0.03)  # between two looks, with a deadline
    return found


class Api:
    """The cluster's HTTPS API; each call inside the platform's network host, with the administrator's certificate."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        config = yaml.safe_load(Path(platform.kubeconfig).read_text())
        self.server = config["clusters"][0]["cluster"]["server"]
        self._ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        user = config["users"][0]["user"]
        self._context = ssl.create_default_context(cadata=self._ca)
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder, "pair.pem")
            text = user["client-certificate-data"], user["client-key-data"]
            pair.write_bytes(b"\n".join(base64.b64decode(part) for part in text))
            self._context.load_cert_chain(pair)

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        *,
        token: str = "",
    ) -> tuple[int, bytes]:
        """One request on a connection of its own; with `token`, without the certificate."""
        context = ssl.create_default_context(cadata=self._ca) if token else self._context
        sent = {"Content-Type": "application/json", **(headers or {})}
        if token:
            sent["Authorization"] = f"Bearer {token}"

        def ask() -> tuple[int, bytes]:
            host = self.server.partition("://")[2]
            connection = http.client.HTTPSConnection(host, timeout=DEADLINE, context=context)
            try:
                with wrapped_or_closed():
                    connection.connect()
                connection.request(method, path, body, sent)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        return self._platform.host.run(ask)

    def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """The answer of a request that must succeed."""
        code, text = self.raw(method, path, None if body is None else json.dumps(body).encode(), {"Content-Type": kind})
        assert code < 300, f"{method} {path}: {code} {text.decode()}"
        return dict(json.loads(text))

    def find(self, path: str) -> Object | None:
        code, text = self.raw("GET", path)
        assert code in (200, 404), text
        return dict(json.loads(text)) if code == 200 else None

    def apply(self, manifest: Object) -> Object:
        """Server-side apply of one object in the core, apps or another known group."""
        kind, meta = manifest["kind"], manifest["metadata"]
        group = "api/v1" if manifest["apiVersion"] == "v1" else f"apis/{manifest['apiVersion']}"
        folder = f"/namespaces/{meta['namespace']}" if "namespace" in meta else ""
        path = f"/{group}{folder}/{kind.lower()}s/{meta['name']}?fieldManager=test&force=true"
        return self.call("PATCH", path, manifest, "application/apply-patch+yaml")

    # pods of the namespace default

    def pod(self, name: str) -> Object:
        return self.call("GET", f"/api/v1/namespaces/default/pods/{name}")

    def run_pod(self, name: str, spec: Object, **meta: Any) -> Object:
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **meta}, "spec": spec}
        return self.call("POST", "/api/v1/namespaces/default/pods", made)

    def await_pod(self, name: str, ready: Callable[[Object], Any], what: str, seconds: float = DEADLINE) -> Object:
        seen: Object = {}

        def look() -> bool:
            seen.update(self.pod(name))
            return bool(ready(seen))

        try:
            until(look, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(seen.get('status'), indent=1)}") from None
        return seen

    def ended(self, name: str) -> Object:
        return self.await_pod(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), f"{name} ends")

    def log(self, name: str, query: str = "") -> str:
        code, text = self.raw("GET", f"/api/v1/namespaces/default/pods/{name}/log{query}")
        assert code == 200, text
        return text.decode()


class Asking(threading.Thread):
    """A client that keeps asking an address inside the host, a connection for each request; counts answers."""

    def __init__(self, host: NetHost, address: str, port: int, path: str = "/healthz", pause: float = 0.01) -> None:
        super().__init__(daemon=True)
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._host, self._to, self._path, self._pause = host, (address, port), path, pause
        self._over = threading.Event()

    def run(self) -> None:
        self._host.run(self._ask)

    def _ask(self) -> None:
        while not self._over.wait(self._pause):
            connection = http.client.HTTPConnection(*self._to, timeout=DEADLINE)
            try:
                connection.request("GET", self._path)
                self.answers[connection.getresponse().read().decode()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {error!r}")
            finally:
                connection.close()

    def end(self) -> int:
        """Stop asking; how many answers there were. Fails where a request did."""
        self._over.set()
        self.join(DEADLINE)
        count = sum(self.answers.values())
        assert not self.failures, f"{len(self.failures)} of {count + len(self.failures)} failed: {self.failures[:3]}"
        return count


class Platform:
    """One instance of Groundplane: `ground …`, `kubectl …` and `api`."""

    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.root, self.run_dir = directory / "root", directory / "run"
        self.host = NetHost(address)
        self.address = address
        self.kubeconfig = str(self.root / "admin.kubeconfig")
        self.environ = {**os.environ, "GROUND_ROOT": str(self.root), "GROUND_RUN": str(self.run_dir)}
        self.environ |= {"GROUND_NODE_IP": address, "GROUND_CONFIG": "/nowhere", "KUBECONFIG": self.kubeconfig}
        self.environ.pop("GROUND_READY_FD", None)
        self._api: Api | None = None

    @property
    def api(self) -> Api:
        if self._api is None:
            self._api = Api(self)
        return self._api

    def run(self, *words: str, input: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """A command inside the host; whatever its exit code."""
        return self.host.run(
            lambda: subprocess.run(
                words, input=input, env=env or self.environ, capture_output=True, text=True, timeout=180, check=False
            )
        )

    def ok(self, *words: str, input: str = "") -> str:
        done = self.run(*words, input=input)
        said = f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, f"{said}\n{self.log()[-4000:]}"
        return done.stdout

    def ground(self, *words: str) -> str:
        return self.ok(sys.executable, "-m", "groundplane.cli.main", *words)

    def kubectl(self, *words: str, input: str = "") -> str:
        return self.ok("kubectl", *words, input=input)

    def image(self, name: str, *programs: str, add: str = "", env: str = "", cmd: str = "") -> None:
        options = [*(("--add", add) if add else ()), *(("--env", env) if env else ()), *(("--cmd", cmd) if cmd else ())]
        self.ground("image", "from-host", "--name", name, *options, *programs)

    def daemon_pid(self) -> int:
        return int(json.loads(self.ground("status", "--format", "json"))["pid"])

    def log(self) -> str:
        path = self.root / "log" / "groundd.log"
        return path.read_text() if path.exists() else ""

    def tables(self) -> list[str]:
        def listed() -> list[str]:
            with Channel(NETFILTER) as channel:
                return [str(name) for name in tables(channel)]

        return self.host.run(listed)

    def links(self) -> list[str]:
        return self.host.shell("ls /sys/class/net 2>/dev/null; ip -br link 2>/dev/null || true").split()

    def left(self) -> list[str]:
        """What is still on the host after `ground down --purge`."""
        files = [str(path) for path in (self.root, self.run_dir) if path.exists()]
        places = [f"table {name}" for name in self.tables()]
        routes = [f"route {line}" for line in self.host.shell("cat /proc/net/route").splitlines()[1:]]
        return [*leaks.left(self.root, self.run_dir), *files, *places, *[r for r in routes if "uplink" not in r]]


@contextmanager
def platform(address: str, prepare: Callable[[Platform], None] = lambda _: None) -> Iterator[Platform]:
    """Up at once, after `prepare`; taken down with proof that nothing is left, by force where the test failed."""
    directory = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    made = Platform(directory, address)
    try:
        prepare(made)
        made.ground("up")
        yield made
        made.ground("down", "--purge")
        assert made.left() == []
    finally:
        sweep(made)
        made.host.close()


def sweep(made: Platform) -> None:
    """Only after a failure there is anything to do."""
    places = [made.root, made.run_dir]
    for _ in range(5):  # a spawner starts its daemon again, and a daemon its spawner
        for line in leaks.processes(places):
            try:
                os.kill(int(line.split(" ")[0]), signal.SIGKILL)
            except ProcessLookupError:
                continue
    for mount in reversed(leaks.mounts([made.directory])):
        subprocess.run(["umount", "-l", mount], check=False)
    for path in leaks.cgroups(made.root):
        for folder, _, _ in os.walk(path, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                continue
    shutil.rmtree(made.directory, ignore_errors=True)
