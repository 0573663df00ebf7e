"""gRPC probes judged by a real gRPC server with the health service; and bytes that are none of gRPC's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.ports import free_port

from groundplane.node.probes.checks import Answer, check
from groundplane.wire import grpc_health

grpc = pytest.importorskip("grpc")
health = pytest.importorskip("grpc_health.v1.health")
health_pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
health_pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def port() -> Iterator[int]:
    pool = ThreadPoolExecutor(2)
    server = grpc.server(pool)
    servicer = health.HealthServicer()
    servicer.set("good", health_pb2.HealthCheckResponse.SERVING)
    servicer.set("bad", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    number = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield number
    server.stop(0).wait()
    pool.shutdown()


def asked(run: Run, port: int, service: str = "", timeout: int = 30) -> Answer:
    probe = {"grpc": {"port": port, "service": service}, "timeoutSeconds": timeout}
    answer: Answer = run(check(probe, {}, "", "127.0.0.1", None))  # type: ignore[arg-type] # no engine is asked
    return answer


def test_what_the_server_says(run: Run, port: int) -> None:
    assert asked(run, port, "good").healthy
    assert asked(run, port).healthy  # the whole server
    assert asked(run, port, "bad") == Answer(False, 'service unhealthy (responded with "NOT_SERVING")')
    assert not asked(run, port, "unknown").healthy
    assert not asked(run, port, "x" * 300).healthy


def test_nobody_there_and_no_grpc_there(run: Run) -> None:
    assert "failed to connect service" in asked(run, free_port()).output

    async def http_server() -> Answer:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            number = server.sockets[0].getsockname()[1]
            probe = {"grpc": {"port": number}, "timeoutSeconds": 30}
            return await check(probe, {}, "", "127.0.0.1", None)  # type: ignore[arg-type]

    assert "does not speak HTTP/2" in run(http_server()).output


@settings(derandomize=True)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    answer = grpc_health.Answer()
    try:
        answer.feed(data)
    except grpc_health.GrpcHealthError:
        return
    assert answer.status in ("", "UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
