"""`ground doctor` on a host of its own: what works, what another program holds, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.net_host import NetHost

from groundplane.daemon import doctor_kernel
from groundplane.kernel.calls import mount
from groundplane.kernel.errors import KernelError

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")


@pytest.fixture
def net() -> Iterator[NetHost]:
    with NetHost("10.1.0.1") as made:
        yield made


def doctor(net: NetHost, root: Path, *words: str, code: int) -> str:
    env = {
        **os.environ,
        "GROUND_ROOT": str(root / "root"),
        "GROUND_RUN": str(root / "run"),
        "GROUND_CONFIG": "/nowhere",
    }
    env["GROUND_NODE_IP"] = "10.1.0.1"
    command = [sys.executable, "-m", "groundplane.cli.main", "doctor", *words]
    done = net.run(lambda: subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False))
    assert (done.returncode, done.stderr) == (code, ""), done
    return done.stdout


def found(report: str) -> dict[str, Any]:
    return {finding["name"]: finding for finding in json.loads(report)["findings"]}


def test_all_that_is_needed_is_found_and_nothing_stays(net: NetHost, state_root: Path) -> None:
    report = doctor(net, state_root, "--format", "json", code=0)
    assert json.loads(report)["missing"] == 0
    names = found(report)
    assert names["node"]["text"].endswith(" at 10.1.0.1")
    assert names["overlay file system"]["state"] == "works"
    assert names["port 6443"]["text"] == "Kubernetes API; free"
    assert list(state_root.iterdir()) == []  # not even the directories of the instance
    left = [d for d, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(d).startswith("ground-doctor-")]
    assert left == []


def test_a_port_and_a_range_that_others_have(net: NetHost, state_root: Path) -> None:
    def occupy() -> tuple[socket.socket, socket.socket]:
        kubelet, dns = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        kubelet.bind(("", 10250))
        kubelet.listen()
        dns.bind(("", 53))
        return kubelet, dns

    holders = net.run(occupy)
    try:
        report = doctor(net, state_root, "--format", "json", code=1)
        text = doctor(net, state_root, code=1)
    finally:
        for holder in holders:
            holder.close()
    names = found(report)
    assert f"in use by {Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})" in names["port 10250"]["text"]
    assert names["port 53"]["state"] == "missing"
    assert "to mend it: stop that program, or GROUND_KUBELET_PORT=N" in text
    assert text.endswith("this host cannot run everything yet.\n")


def test_a_probe_fails_without_harm_to_us() -> None:
    def refused() -> None:
        mount.mount("nothing", "/no/such/place", "tmpfs")

    assert "/no/such/place: No such file or directory (ENOENT)" in doctor_kernel.in_child(refused)
    assert doctor_kernel.in_child(lambda: None) == ""
    with pytest.raises(KernelError):
        refused()
