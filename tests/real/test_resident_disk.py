"""A full disk under a container's log holds the container back; with room again, it goes on and nothing is missing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.engine_rig import rig

from groundplane.engine.contract import State
from groundplane.kernel.calls import mount

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]
_REMOUNT = 32  # MS_REMOUNT, mount(2)


@pytest.fixture
def small_disk(state_root: Path) -> Iterator[Path]:
    place = state_root / "disk"
    place.mkdir()
    mount.mount("small", str(place), "tmpfs", 0, "size=200k")
    yield place
    mount.umount2(str(place), mount.MNT_DETACH)


def test_a_full_disk_holds_back_and_loses_nothing(run: Run, small_disk: Path) -> None:
    async def work() -> None:
        async with rig() as r:
            log = small_disk / "log"
            id = await r.start("sh", "-c", "seq 40000", log_path=str(log))
            await asyncio.sleep(0.5)  # that nothing happens cannot be waited for
            assert r.containers.get(id).state is State.RUNNING
            assert os.path.getsize(log) <= 200 * 1024
            mount.mount("small", str(small_disk), "tmpfs", _REMOUNT, "size=20m")
            assert await r.containers.wait(id) == 0
            assert await r.output(id) == b"".join(b"%d\n" % n for n in range(1, 40_001))

    run(work())


def test_an_end_on_a_full_disk_is_still_known(run: Run, small_disk: Path) -> None:
    async def work() -> None:
        async with rig() as r:
            log = small_disk / "log"
            (small_disk / "filler").write_bytes(b"x" * 180_000)
            id = await r.start("sh", "-c", "seq 8000; exit 3", log_path=str(log))
            assert await r.containers.wait(id) == 3
            found = (await r.output(id)).splitlines()
            assert found == [b"%d" % n for n in range(1, len(found) + 1)]

    run(work())
