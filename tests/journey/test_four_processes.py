"""API server, controllers, scheduler and node as four processes on a host of their own: an application comes and goes.

Logs and exec pass from the API server to the kubelet's port through TLS, because they share nothing but a kubeconfig.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.net_host import NetHost
from tests.real import leaks

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")

ADDRESS = "10.1.0.1"
GROUND = (sys.executable, "-m", "groundplane.cli.main")
SCRIPT = "echo hello from $HOSTNAME; trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "web", "image": "tools:1", "command": ["sh", "-c", SCRIPT]}],
            },
        },
    },
}


class Host:
    """A network of its own, where commands and roles run; whatever happens, all roles end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root, self.run_dir, self.api = directory / "root", directory / "run", directory / "api"
        self.kubeconfig = str(self.api / "admin.kubeconfig")
        self.net = NetHost(ADDRESS)
        self._env = {
            **os.environ,
            "GROUND_ROOT": str(self.root),
            "GROUND_RUN": str(self.run_dir),
            "GROUND_NODE_IP": ADDRESS,
            "GROUND_CONFIG": "/nowhere",
            "KUBECONFIG": self.kubeconfig,
        }
        self._roles: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *words: str) -> str:
        """Start a role; its first line of output where it says that it is ready."""
        waits = words[0] in ("apiserver", "node")
        with (self.directory / f"{words[0]}.log").open("ab") as log:
            out = subprocess.PIPE if waits else log
            started = self.net.run(lambda: subprocess.Popen([*GROUND, *words], env=self._env, stdout=out, stderr=log))
        self._roles[words[0]] = started
        if started.stdout is None:
            return ""
        line = started.stdout.readline().decode()
        assert "ready" in line, (self.directory / f"{words[0]}.log").read_text()
        return line

    def ground(self, *words: str, stdin: str = "", code: int = 0) -> str:
        command = [*GROUND, *words]
        done = self.net.run(
            lambda: subprocess.run(
                command, env=self._env, input=stdin, capture_output=True, text=True, timeout=180, check=False
            )
        )
        logs = "".join(f"\n--- {p.name}\n{p.read_text()[-3000:]}" for p in self.directory.glob("*.log"))
        assert done.returncode == code, f"ground {' '.join(words)}: {done}{logs}"
        return done.stdout

    def end(self, name: str, number: int = signal.SIGTERM) -> int:
        role = self._roles.pop(name)
        role.send_signal(number)
        try:
            role.wait(60)
        finally:
            if role.returncode is None:
                role.kill()
                role.wait()
            if role.stdout is not None:
                role.stdout.close()
        return role.returncode

    def close(self) -> None:
        for name in list(self._roles):
            self.end(name, signal.SIGKILL)
        try:
            self.ground("down", "--purge")
        finally:
            for line in leaks.processes([self.run_dir]):  # only after a failure
                os.kill(int(line.split(" ")[0]), signal.SIGKILL)
            self.net.close()


@pytest.fixture
def host(state_root: Path) -> Iterator[Host]:
    made = Host(state_root)
    try:
        yield made
    finally:
        made.close()


def test_an_application_on_four_processes(host: Host) -> None:
    host.start("apiserver", "--root", str(host.api), "--port", "6443")
    for role in ("controllers", "scheduler", "node"):
        host.start(role, "--kubeconfig", host.kubeconfig)
    host.ground("kube", "wait", "node", "--all", "--for=condition=Ready", "--timeout=90s")
    host.ground("image", "from-host", "--name", "tools:1", "sh", "sleep", "cat", "hostname")
    host.ground("kube", "apply", "-f", "-", stdin=json.dumps(DEPLOYMENT))
    host.ground("kube", "rollout", "status", "deployment/web", "--timeout=60s")
    pods = host.ground("kube", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}").split()
    assert len(pods) == 2

    assert host.ground("kube", "logs", pods[0]) == f"hello from {pods[0]}\n"
    assert re.match(r"\d{4}-\d\d-\d\dT.*Z hello from", host.ground("kube", "logs", pods[1], "--timestamps", "--tail=1"))
    assert host.ground("kube", "exec", pods[0], "--", "hostname") == f"{pods[0]}\n"
    assert host.ground("kube", "exec", "-i", pods[1], "--", "cat", stdin="through\n") == "through\n"
    host.ground("kube", "exec", pods[0], "--", "sh", "-c", "exit 7", code=7)

    port = host.ground("kube", "get", "nodes", "-o", "jsonpath={.items[0].status.daemonEndpoints.kubeletEndpoint.Port}")
    assert port.strip() == "10250"
    refused = host.net.shell(f"{sys.executable} -c {_quoted(_ANONYMOUS)}")
    assert refused.strip() == "401"

    # A node that ends, or is killed, leaves its pods running; the next one finds them.
    for number in (signal.SIGTERM, signal.SIGKILL):
        assert host.end("node", number) == (0 if number == signal.SIGTERM else -number)
        host.start("node", "--kubeconfig", host.kubeconfig)
        assert host.ground("kube", "exec", pods[0], "--", "hostname") == f"{pods[0]}\n"
    restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}"
    assert host.ground("kube", "get", "pods", "-o", restarts).split() == ["0", "0"]

    host.ground("kube", "delete", "deployment", "web")
    host.ground("kube", "wait", "pods", "--all", "--for=delete", "--timeout=90s")
    for role in ("controllers", "scheduler", "apiserver"):
        assert host.end(role) == 0, role
    host.ground("down", "--purge")
    assert host.end("node") == 0
    assert leaks.left(host.root, host.run_dir) == []
    assert "groundplane" not in host.net.shell("nft list tables 2>/dev/null || true")


_ANONYMOUS = f"""
import ssl, urllib.error, urllib.request
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    urllib.request.urlopen("https://{ADDRESS}:10250/pods", context=context, timeout=60)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
