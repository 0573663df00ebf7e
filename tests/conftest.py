"""What every test shares: declared needs of the host, and an instance of one's own.

`@pytest.mark.needs("root", "net")` skips with the reason where the host lacks something; in CI (`CI=true`), where all
of it must be there, the same lack is a failure.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # the guest has none (tests/guest/contents.py), nor a test that needs it
    pass
else:
    # What each example is does not depend on chance, and how long it takes is the host's business: by default 200 ms
    # are a failure, and so is a second for inventing ten examples.
    settings.register_profile(
        "everywhere",
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("everywhere")


def _root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def _cgroups() -> str | None:
    return None if os.access("/sys/fs/cgroup", os.W_OK) and os.geteuid() == 0 else "needs a writable cgroup tree"


def _unshare(flag: str) -> str | None:
    done = subprocess.run(["unshare", flag, "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else f"unshare {flag} is refused: {done.stderr.decode().strip()}"


def _overlay() -> str | None:
    return None if "\toverlay" in Path("/proc/filesystems").read_text() else "the kernel has no overlay file system"


def _ptrace() -> str | None:
    from tests.real.ptrace import refusal  # late: only its tests need it

    return refusal()


def _program(name: str) -> Callable[[], str | None]:
    return lambda: None if shutil.which(name) else f"the program {name} is not installed"


def _pure_v2() -> str | None:
    from groundplane.kernel.cgroups import registry  # late: the probe of one mark

    layout = registry.detect().layout
    return None if layout == "v2" else f"control groups are {layout} here; tests/guest runs this on a pure v2 host"


def _guest_kernel() -> str | None:
    from tests.guest import kernel  # late: the probe of one mark

    return None if kernel.find() else f"there is no kernel for the guest in {kernel.directory()} ({kernel.PREPARE})"


# Clients that no registry serves, and a layout that no command gives a host: their lack is never a failure.
_OPTIONAL = {"kubectl", "docker-cli", "pure-v2"}

_PROBES: dict[str, Callable[[], str | None]] = {
    "root": _root,
    "cgroups": _cgroups,
    "net": lambda: _unshare("--net"),
    "overlay": _overlay,
    "ptrace": _ptrace,
    "nft": _program("nft"),
    "ip": _program("ip"),
    "kubectl": _program("kubectl"),
    "docker-cli": _program("docker"),
    "dockerd": _program("dockerd"),
    "podman": _program("podman"),
    "ps": _program("ps"),
    "runc": _program("runc"),
    "crun": _program("crun"),
    "busybox": _program("busybox"),
    "strace": _program("strace"),
    "newuidmap": _program("newuidmap"),
    "etcd": _program("etcd"),
    "mkfs.ext4": _program("mkfs.ext4"),
    "pure-v2": _pure_v2,
    "qemu": _program("qemu-system-x86_64"),
    "qemu-aarch64": _program("qemu-aarch64-static"),
    "assembler": _program("as"),
    "guest-kernel": _guest_kernel,
}
_known: dict[str, str | None] = {}


HOST_BEFORE = pytest.StashKey[set[str]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """What is on the host before the first test, for the last one (tests/zz_left)."""
    from tests.real.host_state import traces  # late: only a session needs it

    session.config.stash[HOST_BEFORE] = traces()


@pytest.fixture
def host_before(request: pytest.FixtureRequest) -> set[str]:
    """The traces of Groundplane that were on this host when the session started."""
    return request.config.stash[HOST_BEFORE]


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for what in mark.args:
            if what not in _known:
                _known[what] = _PROBES[what]()
            if (reason := _known[what]) is None:
                continue
            if os.environ.get("CI") and what not in _OPTIONAL:
                pytest.fail(f"CI must offer this: {reason}")
            pytest.skip(reason)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    """A thread that outlives its test changes what later tests are: setns(2) of a time namespace wants to be alone."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
        assert not thread.is_alive(), f"the test left the thread {thread.name} behind"


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end, at most three minutes: a bound for what hangs, not for what is slow."""

    def runner(work: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(work, 180)

        return asyncio.run(bounded())

    return runner


@pytest.fixture
def state_root() -> Iterator[Path]:
    """An empty directory with a short path (a socket's path ends at 107 bytes), removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="ground-test-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)
