"""Network devices that become a container's (runtime-spec 1.3, config-linux.md, netDevices)."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable

import pytest
from tests.real.bundles import Box

from groundplane.kernel.calls import process as p
from groundplane.runtime.failures import LaunchError

pytestmark = pytest.mark.needs("root", "cgroups", "busybox", "net", "ip")


def on_another_host(work: Callable[[], None]) -> None:
    """In a network namespace that stands for the host's, with a pair of links in it; it ends with the process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            p.unshare(p.CLONE_NEWNET)
            for words in (
                "link add here type veth peer name there",
                "addr add 10.9.8.7/24 dev here",
                "addr add fd00::7/64 dev here nodad",
                "link set here up",
                "link set there up",
            ):
                subprocess.run(["ip", *words.split()], check=True)
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 because the child must not go on with the parent's tests
            os.write(write, traceback.format_exc().encode()[-30000:])
        finally:
            os._exit(1)
    os.close(write)
    status = os.waitpid(pid, 0)[1]
    text = os.read(read, 30000).decode()
    os.close(read)
    assert status == 0, text


@pytest.mark.parametrize("new", ["", "eth7"])
def test_a_device_moves_with_its_addresses(box: Box, new: str) -> None:
    box.linux["netDevices"] = {"here": {"name": new} if new else {}}

    def work() -> None:
        out = box.run("busybox", "ip", "addr").out
        assert f"{new or 'here'}@" in out
        assert "10.9.8.7/24" in out
        assert "fd00::7/64" in out
        assert "UP" in next(line for line in out.splitlines() if f"{new or 'here'}@" in line)

    on_another_host(work)


def test_a_device_in_a_user_namespace(box: Box) -> None:
    box.namespace("user")
    box.linux["uidMappings"] = box.linux["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.root, *box.root.rglob("*")):
        os.chown(path, 100000, 100000, follow_symlinks=False)
    box.linux["netDevices"] = {"here": {"name": "eth0"}}
    on_another_host(lambda: _has(box.run("busybox", "ip", "addr").out, "10.9.8.7/24"))


def _has(text: str, part: str) -> None:
    assert part in text


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ({"nosuch": {}}, "network device nosuch: move link nosuch: no such device"),
        ({"here": {"name": "lo"}}, "network device here: move link lo: file exists"),
        ({"here": {"name": "a/b"}}, "invalid network device name 'a/b'"),
        ({"here": {"name": "x" * 16}}, "invalid network device name"),
    ],
)
def test_what_cannot_move_is_one_sentence(box: Box, devices: dict[str, dict[str, str]], sentence: str) -> None:
    box.linux["netDevices"] = devices

    def work() -> None:
        with pytest.raises(LaunchError) as caught:
            box.create()
        assert sentence in str(caught.value)
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        assert " here@" in links, "it is where it was"

    on_another_host(work)


def test_without_a_network_namespace_nothing_moves(box: Box) -> None:
    box.linux["netDevices"] = {"lo": {}}
    box.without_namespace("network")
    with pytest.raises(LaunchError, match="unable to move network devices without a private NET namespace"):
        box.create()


def test_a_memory_policy_is_refused(box: Box) -> None:
    box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    with pytest.raises(LaunchError, match="memoryPolicy is specified in config, but is not supported"):
        box.create()
