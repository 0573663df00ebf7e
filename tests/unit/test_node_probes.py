"""Probes: what counts, when it is asked, and what an earlier life of the node had found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.fakes.clock import VirtualClock
from tests.fakes.node_engine import FakeEngine
from tests.unit.node_builders import container

from groundplane.engine.contract import ContainerSpec
from groundplane.node.probes.checks import Answer, check
from groundplane.node.probes.prober import Prober
from groundplane.node.views import Verdict

Run = Callable[[Coroutine[Any, Any, None]], None]
FOREVER = {"exec": {"command": ["x"]}, "failureThreshold": 1}


class Server:
    """Answers each HTTP request with its path's page, or with `answer`; `heads` are what was asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.pages: dict[str, str] = {}

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        page = self.pages.get(self.heads[-1].split()[1])
        writer.write(f"HTTP/1.1 {page}\r\n\r\n".encode() if page else self.answer)
        writer.close()

    async def ask(self, **more: Any) -> Answer:
        engine = FakeEngine(VirtualClock())
        probe = {"httpGet": {"port": self.port, **more}, "timeoutSeconds": 30}
        return await check(probe, container(), "id", "127.0.0.1", engine)  # type: ignore[arg-type]


def test_an_answer_without_an_end_is_malformed(run: Run) -> None:
    async def work() -> None:
        async with Server(b"x" * 200_000) as server:
            answer = await server.ask()
            assert not answer.healthy
            assert "malformed HTTP response" in answer.output

    run(work())


def test_a_probes_own_headers_replace_ours_whatever_their_case(run: Run) -> None:
    async def work() -> None:
        async with Server() as server:
            headers = [{"name": "host", "value": "a.example"}, {"name": "X", "value": "1"}, {"name": "X", "value": "2"}]
            assert (await server.ask(httpHeaders=headers, path="/a b%20c?d=é&e=[1]")).healthy
            assert server.heads[0].split("\r\n")[0] == "GET /a%20b%20c?d=%C3%A9&e=%5B1%5D HTTP/1.1"
            lines = server.heads[0].split("\r\n")
            assert [line for line in lines if line.lower().startswith("host:")] == ["host: a.example"]
            assert [line for line in lines if line.startswith("X:")] == ["X: 1", "X: 2"]

    run(work())


REDIRECTS: list[tuple[str, bool]] = [
    ("/well", True),
    ("/sick", False),
    ("http://127.0.0.1:{port}/sick", False),
    ("http://elsewhere.example/sick", True),  # not followed
    ("/turning", False),
    ("ftp://127.0.0.1/", False),
    ("http://127.0.0.1:99999/", False),
]


@pytest.mark.parametrize(("location", "healthy"), REDIRECTS)
def test_a_redirect_is_followed_at_its_host(location: str, healthy: bool, run: Run) -> None:
    async def work() -> None:
        async with Server() as server:
            to = location.format(port=server.port)
            server.pages = {
                "/": f"302 Found\r\nContent-Length: 0\r\nlocation: {to}",
                "/turning": "301 Moved\r\nLocation: /turning",
                "/sick": "500 Sick",
            }
            assert (await server.ask(path="/")).healthy is healthy

    run(work())


async def probed(
    clock: VirtualClock, spec: dict[str, Any], before: Verdict | None = None, age: float = 0.0
) -> tuple[Prober, list[str]]:
    """A prober whose commands cannot be run at all, and what it tells."""
    engine = FakeEngine(clock)
    id = await engine.create(ContainerSpec("web:1"))
    told: list[str] = []

    def tell(name: str, words: str) -> None:
        told.append(words)

    prober = Prober(spec, id, "127.0.0.1", engine, clock, lambda: None, tell, before, age)  # type: ignore[arg-type]
    await clock.advance(0)
    return prober, told


def test_an_engine_in_trouble_is_no_sick_container(run: Run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        prober, told = await probed(clock, container(livenessProbe=FOREVER, readinessProbe=FOREVER), Verdict())
        await clock.advance(100)
        assert prober.verdict == Verdict(started=True, ready=True)
        assert set(told) == {"errored and resulted in unknown state: no command can be run here"}
        await prober.stop()

    run(work())


def test_a_port_that_nobody_declared_says_nothing_about_the_container(run: Run) -> None:
    async def work() -> None:
        clock = VirtualClock()
        for action in ({"httpGet": {"port": "web"}}, {"tcpSocket": {"port": "web"}}):
            prober, told = await probed(clock, container(livenessProbe={**action, "failureThreshold": 1}))
            await clock.advance(20)
            assert not prober.verdict.unhealthy
            assert set(told) == {'errored and resulted in unknown state: strconv.Atoi: parsing "web": invalid syntax'}
            await prober.stop()

    run(work())


def test_a_host_that_can_be_none_is_a_failure(run: Run) -> None:
    async def work() -> None:
        async with Server() as server:
            assert not (await server.ask(host="a" * 64 + ".example")).healthy

    run(work())


def test_a_probe_that_is_not_there_holds_nothing_back(run: Run) -> None:
    """The node was restarted while the startup probe had not passed; nobody asks for readiness."""

    async def work() -> None:
        prober, _ = await probed(VirtualClock(), container(startupProbe=FOREVER), Verdict(started=False, ready=False))
        assert prober.verdict == Verdict(started=False, ready=True)
        await prober.stop()

    run(work())


def test_the_initial_delay_counts_from_the_containers_start(run: Run) -> None:
    async def work() -> None:
        slow = container(readinessProbe={**FOREVER, "initialDelaySeconds": 60})
        young, early = await probed(VirtualClock(), slow)
        old, in_time = await probed(VirtualClock(), slow, age=61)
        assert (early, bool(in_time)) == ([], True)
        await young.stop()
        await old.stop()

    run(work())


def test_a_period_goes_from_question_to_question(run: Run) -> None:
    """A probe that runs into its timeout is not asked more rarely for it."""

    async def work() -> None:
        clock = VirtualClock()
        asked: list[float] = []

        class Slow(FakeEngine):
            async def exec(self, id: str, spec: Any) -> Any:
                asked.append(clock.monotonic())
                await clock.sleep(4)
                return await super().exec(id, spec)

        engine = Slow(clock)
        id = await engine.create(ContainerSpec("web:1"))
        probe = container(livenessProbe={**FOREVER, "periodSeconds": 5, "timeoutSeconds": 30})
        prober = Prober(probe, id, "127.0.0.1", engine, clock, lambda: None, lambda *_: None)  # type: ignore[arg-type]
        await clock.advance(12)
        assert asked == [1, 6, 11]
        await prober.stop()

    run(work())


def test_a_command_that_begins_too_late_is_ended(run: Run) -> None:
    """Nobody would end it, and each probe would leave another."""

    async def work() -> None:
        begun = asyncio.Event()
        ends: list[str] = []

        class Late:
            async def kill(self) -> None:
                ends.append("killed")

            async def close(self) -> None:
                ends.append("closed")

        class Busy(FakeEngine):
            async def exec(self, id: str, spec: Any) -> Any:
                await begun.wait()
                return Late()

        engine = Busy(VirtualClock())
        asking = asyncio.ensure_future(check(FOREVER, container(), "id", "127.0.0.1", engine))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        asking.cancel()  # as its timeout does, or the container's end
        await asyncio.sleep(0)
        begun.set()
        await asyncio.gather(asking, return_exceptions=True)
        assert (asking.cancelled(), ends) == (True, ["killed", "closed"])

    run(work())
