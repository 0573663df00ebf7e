"""A host that is short of room for a moment: descriptors, disk; and clients or orphans that take up too much of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.real.engine_rig import Rig, rig

from groundplane.engine.contract import EngineError, ExecSpec, State
from groundplane.kernel.calls import mount
from groundplane.kernel.calls.rlimits import get_rlimit, prlimit

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]
_REMOUNT = 32  # MS_REMOUNT, mount(2)


@contextmanager
def soft_limit(number: int) -> Iterator[None]:
    """Of our own descriptors, for the length of the block; it is inherited."""
    former, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (former, hard))


def test_the_usual_limit_of_descriptors_is_the_containers_and_not_the_spawner_s(run: Run) -> None:
    async def work() -> None:
        with soft_limit(64):
            around = rig()
            r = await around.__aenter__()
        try:
            ids = [await r.start("sh", "-c", "ulimit -n; read x", stdin_open=True) for _ in range(24)]
            assert all(r.containers.get(id).state is State.RUNNING for id in ids)
            await says(r, ids[0], b"64\n")
            streams = await r.containers.exec(ids[0], ExecSpec(("sh", "-c", "ulimit -n")))
            assert await streams.read() == (1, b"64\n")
            await streams.close()
            former = await r.spawner()
            os.kill(former, signal.SIGKILL)  # the next one is the engine's child, not ours
            await r.eventually(lambda: bool(r.spawners()) and r.spawners() != [former] and r.link._ready.is_set())
            await says(r, await r.start("sh", "-c", "ulimit -n; sleep 600"), b"%d\n" % OWN)
        finally:
            await around.__aexit__(None, None, None)

    run(work())


OWN = resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def says(r: Rig, id: str, wanted: bytes) -> None:
    async for line in r.containers.logs(id, follow=True):
        assert line.data == wanted
        return


def test_a_spawner_without_descriptors_refuses_and_lives(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sleep", "600")
            pid = await r.spawner()
            soft, hard = get_rlimit(pid, "RLIMIT_NOFILE")
            used = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
            free = [number for number in range(len(used) + 3) if number not in used]
            prlimit(pid, "RLIMIT_NOFILE", free[1] + 1, hard)  # two: for the order's socket and its file, no more
            with pytest.raises(EngineError, match="no supervisor lived long enough"):
                await r.containers.start(id)
            prlimit(pid, "RLIMIT_NOFILE", soft, hard)
            assert await r.spawner() == pid
            await r.containers.start(id)
            assert r.containers.get(id).state is State.RUNNING

    run(work())


def test_a_full_run_directory_holds_back_and_the_supervisor_lives(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "seq 40000; sleep 600")
            place = r.run / "c" / id[:12]
            place.mkdir(parents=True)
            mount.mount("small", str(place), "tmpfs", 0, "size=100k")
            try:
                await r.containers.start(id)
                supervisor = await r.supervisor(id)
                await r.eventually(lambda: os.statvfs(place).f_bavail == 0)
                mount.mount("small", str(place), "tmpfs", _REMOUNT, "size=20m")
                log = Path(r.containers.get(id).log_path)
                await r.eventually(lambda: b" 40000\n" in log.read_bytes()[-100:])
                assert await r.output(id) == b"".join(b"%d\n" % n for n in range(1, 40_001))
                assert await r.supervisor(id) == supervisor
                await r.containers.kill(id)
                await r.containers.wait(id)
            finally:
                mount.umount2(str(place), mount.MNT_DETACH)

    run(work())


def test_an_end_that_cannot_be_written_is_told_and_cleared_up(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sleep", "600")
            place = r.root / "containers" / id
            mount.mount("small", str(place), "tmpfs", 0, "size=100k")
            try:
                await r.containers.start(id)
                with suppress(OSError), open(place / "filler", "wb", buffering=0) as f:
                    while True:
                        f.write(b"x" * 4096)
                await r.containers.kill(id)
                assert await r.containers.wait(id) == 137
                await r.eventually(lambda: not (r.run / "c" / id[:12] / "supervise").exists())
                assert not (place / "exit").exists()
            finally:
                mount.umount2(str(place), mount.MNT_DETACH)

    run(work())


def test_a_slow_client_of_the_former_run_does_not_delay_the_next(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("seq", "300000")
            streams = await r.containers.attach(id)
            await r.containers.start(id)
            seen = itertools.count()
            # Not only for a moment: the client takes nothing more.
            await r.eventually(lambda: waits_in_write(r.containers.get(id).pid) and next(seen) > 20)
            await r.containers.kill(id)
            await r.containers.wait(id)
            await r.containers.start(id)
            assert await r.containers.wait(id) == 0
            await streams.close()

    run(work())


def waits_in_write(pid: int) -> bool:
    return Path(f"/proc/{pid}/wchan").read_text().endswith("pipe_write")


def test_who_writes_on_after_the_end_is_not_waited_for(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", "yes & exec sleep 600", pid_mode="host")
            await r.eventually(lambda: os.path.getsize(r.containers.get(id).log_path) > 0)
            await r.containers.kill(id)
            assert await r.containers.wait(id) == 137

    run(work())


def test_who_attaches_during_a_start_is_attached(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "read x; echo $x", stdin_open=True)
            start = asyncio.ensure_future(r.containers.start(id))
            await asyncio.sleep(0)  # it has taken those who came before
            streams = await r.containers.attach(id)
            waiting = streams.connection
            await start
            await r.eventually(lambda: streams.connection not in (None, waiting))
            await streams.write(b"here\n")
            assert await streams.read() == (1, b"here\n")
            await streams.close()

    run(work())
