"""The power is cut, and the host starts again: files stay, processes, mounts, links, tables and RUN do not.

The host is a network, a PID and a mount namespace of the test's own, with a fresh RUN, whose first process is killed:
the kernel then ends everything in it, as a power cut does. (What a disk loses is the store's and the images' tests.)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.net_host import NetHost
from tests.real import leaks
from tests.real.platform_rig import Asking, Object, Platform, sweep, until
from tests.real.storm import DEPLOYMENTS, PODS, box_pod, deployment, images, is_ready

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
ADDRESS = "10.23.0.1"


class Machine(Platform):
    """A platform on a host that can be switched off. `boot` before anything else."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, ADDRESS)
        self._volatile = directory / "volatile"
        self._volatile.mkdir()
        self.run_dir = self._volatile / "run"
        self.environ["GROUND_RUN"] = str(self.run_dir)
        self.root.mkdir()
        self._first: subprocess.Popen[str] | None = None
        self._pid = 0

    def boot(self) -> None:
        self.host.close()
        self.host = NetHost(ADDRESS)
        script = f"mount -t tmpfs run {self._volatile} && echo $$ && exec sleep infinity"
        # --kill-child: the first process of the PID namespace goes with unshare, so also with a killed test.
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script]
        self._first = self.host.run(lambda: subprocess.Popen(unshare, stdout=subprocess.PIPE, text=True))
        assert self._first.stdout is not None
        assert self._first.stdout.readline() == "1\n"
        children = Path(f"/proc/{self._first.pid}/task/{self._first.pid}/children").read_text().split()
        self._pid = int(children[0])
        self._api = None

    def run(self, *words: str, input: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--wd", "--", *words]
        return super().run(*inside, input=input, env=env)

    def cut_power(self) -> None:
        if self._first is None:
            return
        os.kill(self._pid, signal.SIGKILL)
        self._first.wait(60)
        if self._first.stdout is not None:
            self._first.stdout.close()
        self._first = None
        until(lambda: not leaks.processes([self.root, self.run_dir]), "the kernel has ended every process")
        until(lambda: not self._cgroups_that_stay(), "groups without processes can be removed")

    def _cgroups_that_stay(self) -> list[str]:
        """A power cut ends control groups, too. The kernel counts the dead out of them a little later."""
        for path in leaks.cgroups(self.root):
            for folder, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        return leaks.cgroups(self.root)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine(Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp")))
    try:
        made.boot()
        made.ground("up")
        images(made)
        yield made
    finally:
        try:
            made.cut_power()
        finally:
            sweep(made)
            made.host.close()
            shutil.rmtree(made.directory, ignore_errors=True)


def _ready(machine: Machine, count: int) -> list[Object]:
    def there() -> list[Object]:
        found = [pod for pod in machine.api.call("GET", PODS)["items"] if is_ready(pod)]
        return found if len(found) == count else []

    return until(there, f"{count} pods are ready")


def _restarts(pods: list[Object]) -> dict[str, tuple[str, int]]:
    return {
        p["metadata"]["name"]: (p["metadata"]["uid"], p["status"]["containerStatuses"][0]["restartCount"]) for p in pods
    }


def test_a_cluster_comes_back_after_a_power_cut(machine: Machine) -> None:
    machine.api.call("POST", DEPLOYMENTS, deployment("web", 2))
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": spec}
    service = machine.api.call("POST", "/api/v1/namespaces/default/services", body)["spec"]["clusterIP"]
    machine.api.run_pod("kept", box_pod("echo began; sleep 1000"))
    plain = machine.ground("run", "-d", "--network", "none", "box:v1", "sleep", "1000").strip()
    before = _restarts(_ready(machine, 3))

    machine.cut_power()
    machine.boot()
    machine.ground("up")
    until(lambda: all(n == 1 for _, n in _restarts(_ready(machine, 3)).values()), "each container was started again")
    assert {name: uid for name, (uid, _) in _restarts(_ready(machine, 3)).items()} == {
        name: uid for name, (uid, _) in before.items()
    }
    [status] = machine.api.pod("kept")["status"]["containerStatuses"]
    assert status["lastState"]["terminated"]["exitCode"] != 0
    asking = Asking(machine.host, service, 80)
    asking.start()
    until(lambda: sum(asking.answers.values()) > 20, "the Service answers")
    asking.end()
    [info] = json.loads(machine.ground("inspect", plain))
    assert info["State"]["Status"] == "exited"
    assert info["State"]["Running"] is False
    machine.ground("start", plain)
    machine.ground("rm", "-f", plain)  # its sleep ignores SIGTERM, as PID 1
    machine.ground("down", "--purge")
    assert machine.left() == []


def test_taking_down_what_a_power_cut_left(machine: Machine) -> None:
    """The first command after the restart is `down --purge`: it ends, and nothing is left."""
    machine.api.call("POST", DEPLOYMENTS, deployment("web", 3))
    _ready(machine, 3)
    machine.cut_power()
    machine.boot()
    machine.ground("down", "--purge")
    assert not machine.root.exists()
    assert [m for m in machine.ok("cat", "/proc/self/mounts").splitlines() if str(machine.root) in m] == []
    assert leaks.cgroups(machine.root) == []
    assert machine.tables() == []
