"""A few seconds of kills at random moments, while containers write and others come and go: nothing is lost.

`GROUND_SOAK_SECONDS` makes it longer, `GROUND_SOAK_SEED` other.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time

import pytest
from tests.real.engine_rig import Rig, rig

from groundplane.engine.contract import State

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")

SECONDS = float(os.environ.get("GROUND_SOAK_SECONDS", "4"))
SEED = int(os.environ.get("GROUND_SOAK_SEED", "7"))
_COUNTER = 'trap "echo bye; exit 9" USR1; i=0; while :; do echo $i; i=$((i+1)); [ $((i%50)) = 0 ] && sleep 0.01; done'


def _kill(found: list[int]) -> None:
    """The one there is; at the moment there may be none, or a fork that cannot be told from its parent yet."""
    if len(found) == 1:
        os.kill(found[0], signal.SIGKILL)


async def strike(r: Rig, what: str, id: str) -> None:
    """One kill, or one container from start to end."""
    try:
        if what in ("supervisor", "supervisor and spawner"):
            _kill(r.supervisors(id))
        if what in ("spawner", "supervisor and spawner"):
            _kill(r.spawners())
        if what == "zygote":
            _kill(r.zygotes())
    except ProcessLookupError:  # it has just ended
        return
    if what == "engine":
        await r.engine_dies()
        await r.engine_starts()
    if what == "run":
        short = await r.start("sh", "-c", "echo x; exit 3")
        assert await r.containers.wait(short) == 3
        assert await r.output(short) == b"x\n"
        await r.containers.remove(short)


def test_random_kills_disturb_nothing() -> None:
    async def work() -> None:
        chance = random.Random(SEED)
        async with rig() as r:
            ids = [await r.start("sh", "-c", _COUNTER) for _ in range(3)]
            pids = {id: r.containers.get(id).pid for id in ids}
            for pid in pids.values():
                await r.catches(pid, signal.SIGUSR1)
            end = time.monotonic() + SECONDS
            blows = ("supervisor", "supervisor", "supervisor and spawner", "spawner", "zygote", "engine", "run")
            while time.monotonic() < end:
                await asyncio.sleep(chance.random() * 0.2)
                await strike(r, chance.choice(blows), chance.choice(ids))
                for id in ids:
                    info = r.containers.get(id)
                    assert (info.state, info.pid) == (State.RUNNING, pids[id])
            for id in ids:
                await r.supervisor(id)  # else, with both its parents dead, what it writes last goes with its FIFOs
                await r.containers.kill(id, "USR1")
                assert await r.containers.wait(id) == 9
                lines = (await r.output(id)).split(b"\n")
                assert lines[-2:] == [b"bye", b""]
                numbers = [int(line) for line in lines[:-2]]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    asyncio.run(asyncio.wait_for(work(), SECONDS * 4 + 120))
