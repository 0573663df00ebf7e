"""Docker's words at the engine's door, over containers that really run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiohttp.test_utils import TestClient, TestServer
from tests.fakes.clock import VirtualClock
from tests.fakes.engine_parts import BusyboxImage
from tests.real.engine_rig import Rig, rig

from groundplane.base.clock import Clock
from groundplane.dockerapi.app import make_app
from groundplane.engine.contract import NoSuchContainer, State

pytestmark = pytest.mark.needs("root", "cgroups", "net", "busybox")
Run = Callable[[Any], Any]


class House(NamedTuple):
    rig: Rig
    client: TestClient[Any, Any]

    async def create(self, *command: str, **host: Any) -> str:
        body = {"Image": "busybox", "Cmd": command, "Labels": {"own": "1"}, "HostConfig": host}
        answer = await self.client.post("/containers/create", json=body)
        document = await answer.json()
        assert answer.status == 201, document
        return str(document["Id"])

    async def start(self, *command: str, **host: Any) -> str:
        id = await self.create(*command, **host)
        assert await self.post(f"/containers/{id}/start") == 204
        return id

    async def post(self, path: str) -> int:
        async with self.client.post(path) as answer:
            return answer.status

    async def get(self, path: str) -> Any:
        async with self.client.get(path) as answer:
            return await answer.json()


@asynccontextmanager
async def house(config: dict[str, Any] | None = None, clock: Clock | None = None) -> AsyncIterator[House]:
    image = BusyboxImage(config)
    async with rig(image) as r:
        engine: Any = SimpleNamespace(containers=r.containers, images=image, events=lambda: r.containers.events())
        async with TestClient(TestServer(make_app(engine, r.settings, clock=clock))) as client:
            yield House(r, client)


def test_a_container_has_its_image_s_labels(run: Run) -> None:
    async def work() -> None:
        async with house({"Labels": {"own": "0", "of": "image"}}) as h:
            id = await h.create("true")
            for item, found in (("of=image", [id]), ("own=1", [id]), ("own=0", [])):
                filters = json.dumps({"label": [item]})
                assert [c["Id"] for c in await h.get(f"/containers/json?all=1&filters={filters}")] == found

    run(work())


def test_stop_and_restart_take_a_signal(run: Run) -> None:
    async def work() -> None:
        async with house() as h:
            id = await h.start("sh", "-c", "trap 'exit 7' USR1; trap '' TERM; while :; do sleep 0.05; done")
            await h.rig.catches(h.rig.containers.get(id).pid, 10)
            assert await h.post(f"/containers/{id}/restart?signal=SIGUSR1&t=100") == 204
            await h.rig.catches(h.rig.containers.get(id).pid, 10)
            assert await h.post(f"/containers/{id}/stop?signal=USR1&t=100") == 204
            assert h.rig.containers.get(id).exit_code == 7
            assert await h.post(f"/containers/{id}/stop?signal=NONE") == 304

    run(work())


def test_a_restart_does_not_remove_what_is_removed_at_its_end(run: Run) -> None:
    async def work() -> None:
        async with house() as h:
            id = await h.start("sleep", "600", AutoRemove=True)
            former = h.rig.containers.get(id).pid
            assert await h.post(f"/containers/{id}/restart?signal=KILL") == 204
            assert h.rig.containers.get(id).state is State.RUNNING and h.rig.containers.get(id).pid != former
            await h.rig.containers.kill(id)
            await h.rig.eventually(lambda: not h.rig.containers.list())

    run(work())


def test_what_waits_for_a_removal_finds_nothing_then(run: Run) -> None:
    async def work() -> None:
        async with rig() as r:
            id = await r.start("sleep", "600")
            removal = asyncio.ensure_future(r.containers.remove(id, force=True))
            await asyncio.sleep(0)  # it has the lock
            with pytest.raises(NoSuchContainer):
                await r.containers.restart(id)
            await removal

    run(work())


def test_only_a_running_container_is_resized(run: Run) -> None:
    async def work() -> None:
        async with house() as h:
            id = await h.create("sleep", "600")
            assert await h.post(f"/containers/{id}/resize?h=20&w=80") == 409
            assert not h.rig.containers._to_attach

    run(work())


def test_events_end_at_their_time(run: Run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        async with house(clock=clock) as h:
            async with h.client.get(f"/events?until={clock.time() + 10}") as answer:
                id = await h.create("true")
                event = json.loads(await answer.content.readline())
                assert (event["Action"], event["id"]) == ("create", id)
                await clock.advance(10)
                assert await answer.content.read() == b""
            async with h.client.get("/events?until=1") as answer:
                assert await answer.read() == b""
            await h.rig.eventually(lambda: not h.rig.containers._events._queues)  # nobody listens any more

    run(work())


def test_top_shows_the_container_s_processes_only(run: Run) -> None:
    async def work() -> None:
        async with house() as h:
            id = await h.start("sh", "-c", "sleep 601 & exec sleep 600", PidMode="host")
            found: list[str] = []
            while sorted(found) != ["sleep 600", "sleep 601"]:  # the test's own deadline bounds it
                found = [row[-1] for row in (await h.get(f"/containers/{id}/top"))["Processes"]]

    run(work())


def test_sources_of_mounts_are_made_or_wanted(run: Run, tmp_path: Path) -> None:
    async def work() -> None:
        async with house() as h:
            missing = tmp_path / "a/b"
            long = {"Type": "bind", "Source": str(missing), "Target": "/x"}
            body = {"Image": "busybox", "HostConfig": {"Mounts": [long]}}
            async with h.client.post("/containers/create", json=body) as answer:
                assert answer.status == 400
                assert (await answer.json())["message"].endswith(f"bind source path does not exist: {missing}")
            id = await h.start("sh", "-c", "echo here > /x/y", Binds=[f"{missing}:/x"])
            assert await h.rig.containers.wait(id) == 0
            assert (missing / "y").read_text() == "here\n"

    run(work())


def test_a_client_that_leaves_a_long_replay_is_forgotten(run: Run) -> None:
    async def work() -> None:
        async with house() as h:
            id = await h.start("seq", "300000")
            await h.rig.containers.wait(id)
            server: Any = h.client.server
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(f"POST /containers/{id}/attach?logs=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await reader.read(1000)
            writer.transport.abort()
            connections = server.runner.server
            await h.rig.eventually(lambda: len(connections.connections) == 1)  # the client's own, kept alive

    run(work())


def test_statistics_of_a_removed_container_end(run: Run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        async with house(clock=clock) as h:
            id = await h.start("sleep", "600")
            async with h.client.get(f"/containers/{id}/stats") as answer:
                assert json.loads(await answer.content.readline())["id"] == id
                await h.rig.containers.remove(id, force=True)
                while not clock.sleepers:
                    await asyncio.sleep(0)
                await clock.advance(1)
                assert await answer.content.read() == b""

    run(work())
