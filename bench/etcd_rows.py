"""The store on a real etcd: our driver beside a client that does nothing but put, over the gateway and over gRPC."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from bench.rows import Figure, Row
from tests.fakes import etcd

from groundplane.store.registry import open_store

_VALUE = os.urandom(1024)
_TEXT = b64encode(_VALUE).decode()
Put = Callable[[str], Awaitable[object]]


def etcd_rows(*, rounds: int, seconds: float) -> list[Row]:
    """Nothing where no etcd is installed."""
    if shutil.which("etcd") is None:
        return []
    with tempfile.TemporaryDirectory(prefix="ground-bench-") as directory, etcd.cluster(Path(directory)) as server:
        return asyncio.run(_rows(server, max(3, rounds // 4), seconds))


async def _rows(server: etcd.Cluster, rounds: int, seconds: float) -> list[Row]:
    store = await open_store(server.url())
    member = server.members[0]

    async def ours(key: str) -> object:
        return await store.create(key, _VALUE)

    async def question(_: str) -> object:
        return await store.sync()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def gateway(key: str) -> object:
            body = json.dumps({"key": b64encode(key.encode()).decode(), "value": _TEXT})
            async with session.post(f"{member.client}/v3/kv/put", data=body) as answer:
                return await answer.read()

        try:
            ways: dict[str, Put] = {"ours": ours, "bare put, JSON gateway": gateway}
            call, close = _grpc(member.address)
            if call is not None:
                ways["bare put, gRPC"] = call
            alone: dict[str, list[float]] = {name: [] for name in ways}
            many: dict[str, list[float]] = {name: [] for name in ways}
            for round_ in range(rounds):  # by turns, so that a busy moment meets all of them
                for number, (name, way) in enumerate(ways.items()):
                    alone[name] += await _latencies(way, f"/a/{round_}/{number}", seconds / 4)
                    many[name].append(await _rate(way, f"/m/{round_}/{number}", 64, seconds / 2))
            looks = Figure(await _latencies(question, "", seconds / 4))
            await close()
        finally:
            await store.close()
    return _told(alone, many, looks)


def _told(alone: dict[str, list[float]], many: dict[str, list[float]], looks: Figure) -> list[Row]:
    single = {name: Figure(taken) for name, taken in alone.items()}
    rates = {name: Figure(taken, "/s") for name, taken in many.items()}
    mine, rate = single.pop("ours"), rates.pop("ours")
    shares = ", ".join(f"{rate.median / peer.median:.2f} of {name}" for name, peer in rates.items())
    words = "store.create(key, 1 KB) on one etcd member, same disk"
    return [
        Row("etcd: durable write alone, 1 KB", mine, words, single, note=f"p99 {mine.quantile(0.99):.2f} ms"),
        Row("etcd: durable writes, 1 KB, 64 writers", rate, words, rates, note=f"{shares}; one Python process each"),
        Row("etcd: newest revision asked for", looks, "store.sync(), before each read without a resourceVersion"),
    ]


def _grpc(address: str) -> tuple[Put | None, Callable[[], Awaitable[object]]]:
    """etcdserverpb.KV/Put over grpcio, where that is installed."""

    async def nothing() -> None: ...

    try:
        from grpc import aio
    except ImportError:
        return None, nothing
    channel = aio.insecure_channel(address)
    call = channel.unary_unary("/etcdserverpb.KV/Put", request_serializer=None, response_deserializer=None)
    size = bytes([len(_VALUE) & 0x7F | 0x80, len(_VALUE) >> 7])  # a varint of two bytes
    tail = b"\x12" + size + _VALUE  # PutRequest: field 1 is the key, 2 the value

    async def put(key: str) -> object:
        name = key.encode()
        return await call(b"\x0a" + bytes([len(name)]) + name + tail)

    return put, channel.close


async def _latencies(put: Put, prefix: str, seconds: float) -> list[float]:
    taken, end = [], time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await put(f"{prefix}/{len(taken):08}")
        taken.append((time.perf_counter() - begin) * 1e3)
    return taken


async def _rate(put: Put, prefix: str, writers: int, seconds: float) -> float:
    done, end = 0, time.perf_counter() + seconds

    async def one(number: int) -> None:
        nonlocal done
        count = 0
        while time.perf_counter() < end:
            await put(f"{prefix}/{number}-{count:08}")
            count += 1
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(writers)))
    return done / (time.perf_counter() - begin)
