"""What the engine makes of records: half removed, damaged, not writable; and of an end that is not cleared up yet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.engine_parts import BusyboxImage
from tests.real.engine_rig import rig

from groundplane.engine.containers.supervised import StartFailed, Supervised, is_supervised
from groundplane.engine.contract import EngineError, ImageInfo, NoSuchContainer, NoSuchImage, SandboxSpec, State
from groundplane.kernel.processes import start_ticks
from groundplane.wire.spawner import Pin, Spawn

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]


def test_a_half_removed_container_does_not_come_back(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            log = r.root / "pods" / "1.log"  # a pod's lies outside its containers' directories
            id = await r.start("echo", "words", log_path=str(log))
            await r.containers.wait(id)
            await r.engine_dies()
            assert log.exists()
            place = r.root / "containers" / id
            place.rename(place.with_name(f".{id}"))  # where a kill of the engine leaves a removal
            await r.engine_starts()
            assert r.containers.list() == []
            assert os.listdir(place.parent) == os.listdir(log.parent) == []

    run(work())


def test_a_record_that_cannot_be_read_is_left_alone(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("true")
            await r.engine_dies()
            record = r.root / "containers" / id / "container.json"
            whole = record.read_bytes()
            record.write_bytes(whole[:100])
            await r.engine_starts()
            assert r.containers.list() == []
            await r.engine_dies()
            record.write_bytes(whole)
            await r.engine_starts()
            assert [info.id for info in r.containers.list()] == [id]
            await r.containers.start(id)  # its files are there, too
            assert await r.containers.wait(id) == 0

    run(work())


def test_a_state_that_cannot_be_written_holds_nothing_up(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("sh", "-c", "exit 3")
            (r.root / "containers" / id / "state.json").mkdir()  # what a full disk refuses, this does as well
            await r.containers.start(id)
            assert await r.containers.wait(id) == 3
            await r.engine_dies()
            await r.engine_starts()
            info = r.containers.get(id)
            assert (info.state, info.exit_code) == (State.EXITED, 3)
            await r.containers.remove(id)

    run(work())


def test_a_start_waits_until_the_former_end_is_cleared_up(run: Run) -> None:
    """A supervisor that is killed when it has written the end, and a spawner that is late in replacing it."""

    async def work() -> None:
        async with rig() as r:
            id = await r.start("sleep", "600")
            former = r.containers.get(id)
            spawner, supervisor = await r.spawner(), await r.supervisor(id)
            os.kill(spawner, signal.SIGSTOP)
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(former.pid, signal.SIGKILL)
            end = {"code": 137, "oom": False, "at": former.started_at + 1, "started": former.started_at}
            (r.root / "containers" / id / "exit").write_text(json.dumps(end))
            os.kill(supervisor, signal.SIGKILL)
            await r.eventually(lambda: r.containers.get(id).state is State.EXITED)
            again = asyncio.ensure_future(r.containers.start(id))
            for _ in range(1000):  # turns of the loop: as far as it comes without the spawner
                await asyncio.sleep(0)
            os.kill(spawner, signal.SIGCONT)
            await again
            info = r.containers.get(id)
            assert info.state is State.RUNNING and info.pid != former.pid
            assert start_ticks(info.pid)
            assert not (r.root / "containers" / id / "exit").exists()

    run(work())


def test_a_container_outlives_its_image(run: Run) -> None:
    """`rmi -f` of a stopped container's image: it starts all the same, with what the image said."""

    class Image(BusyboxImage):
        gone = False

        def resolve(self, name: str) -> ImageInfo:
            if self.gone:
                raise NoSuchImage(f"No such image: {name}")
            return super().resolve(name)

    async def work() -> None:
        image = Image({"StopSignal": "SIGUSR1"})
        async with rig(image) as r:
            id = await r.create("sh", "-c", "trap 'echo $FROM; exit 4' USR1; while :; do sleep 0.05; done")
            image.gone = True
            await r.engine_dies()
            await r.engine_starts()
            await r.containers.start(id)
            await r.catches(r.containers.get(id).pid, signal.SIGUSR1)
            await r.containers.stop(id, 600)
            assert r.containers.get(id).exit_code == 4
            assert await r.output(id) == b"image\n"

    run(work())


def test_a_removal_that_nobody_waits_for_is_told(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.create("true")
            events = r.containers.events()
            end = asyncio.ensure_future(r.containers.wait(id, next_exit=True))
            removal = asyncio.ensure_future(r.containers.remove(id))
            await asyncio.sleep(0)
            removal.cancel()
            with pytest.raises(asyncio.CancelledError):
                await removal
            assert (await anext(events)).action == "destroy"
            assert await end == 0

    run(work())


def ignores(pid: int, number: int) -> bool:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigIgn"], 16) >> (number - 1) & 1)


def test_a_removal_by_force_does_not_wait_for_a_restart_s_patience(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
            await r.eventually(lambda: ignores(r.containers.get(id).pid, signal.SIGTERM))
            restart = asyncio.ensure_future(r.containers.restart(id, 600))
            await asyncio.sleep(0)  # it has the lock, and waits
            await r.containers.remove(id, force=True)
            with suppress(NoSuchContainer):
                await restart
            assert r.containers.list() == []

    run(work())


def processes_in(namespace: int) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                found.append(name)
    return found


def test_pins_whose_engine_was_killed_are_taken_away(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            place = r.run / "s" / f".{'a' * 12}"
            place.mkdir(parents=True)
            await r.sandboxes._ordered(Pin(str(place), ["pid", "ipc"], "", []))
            namespace = os.stat(place / "pid").st_ino
            assert len(processes_in(namespace)) == 1
            await r.engine_dies()
            await r.engine_starts()
            assert os.listdir(r.run / "s") == []
            await r.eventually(lambda: not processes_in(namespace))

    run(work())


def test_a_sandbox_that_nobody_waits_for_any_more_is_gone(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            spawner = await r.spawner()
            os.kill(spawner, signal.SIGSTOP)  # so that nothing is finished before it is cancelled
            create = asyncio.ensure_future(r.sandboxes.create(SandboxSpec("pod", network="none", share_pid=True)))
            await r.eventually(lambda: bool(os.listdir(r.root / "sandboxes")))
            create.cancel()
            os.kill(spawner, signal.SIGCONT)
            with pytest.raises(asyncio.CancelledError):
                await create
            assert r.sandboxes.list() == []
            assert os.listdir(r.run / "s") == [] and os.listdir(r.root / "sandboxes") == []
            children = Path(f"/proc/{spawner}/task/{spawner}/children")
            await r.eventually(lambda: len(children.read_text().split()) == 1)  # the zygote: no agent, no holder

    run(work())


def test_a_sandbox_writes_no_parameter_of_the_host(run: Run) -> None:
    """Whoever may make a pod names its sysctls: kernel.core_pattern would be root on the host."""

    async def work() -> None:
        async with rig() as r:
            for name in ("vm.overcommit_ratio", "kernel/core_pattern", "net.ipv4.ip_forward", "net/../vm/swappiness"):
                value = Path(f"/proc/sys/{name.replace('.', '/')}").read_text() if ".." not in name else "60"
                spec = SandboxSpec("pod", network="host", sysctls={name: value})  # what it is now, so no harm is done
                with pytest.raises(EngineError, match="sysctl"):
                    await r.sandboxes.create(spec)
            assert os.listdir(r.run / "s") == [] and os.listdir(r.root / "sandboxes") == []
            spec = SandboxSpec("pod", network="none", sysctls={"net.ipv4.ip_unprivileged_port_start": "80"})
            sandbox = await r.sandboxes.create(spec)
            await r.sandboxes.remove(sandbox.id)

    run(work())


def test_a_document_that_nobody_expects_is_a_failed_start(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = "e" * 64
            place, end = r.run / "c" / id[:12], r.root / "end"
            place.mkdir(parents=True)
            (place / "config.json").write_text("[]")
            order = Spawn(
                id, str(place), str(place / "log"), str(end), "ground-test/e", False, False, 0, 0, 1, 1, False
            )
            with pytest.raises(StartFailed):
                await Supervised.spawn(r.link, order, [])
            assert not is_supervised(str(place))
            shutil.rmtree(place)

    run(work())
