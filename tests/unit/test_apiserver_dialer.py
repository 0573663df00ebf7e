"""The API server's way to a kubelet over TLS: logs, exec, refusals, and a node that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

from groundplane.apiserver.streams.dialer import TlsDialer
from groundplane.base import jsonyaml
from groundplane.client.contract import ApiError
from groundplane.serve import listeners, peer, tls
from groundplane.serve.pki import Pki
from groundplane.serve.server import Server
from groundplane.wire import channels


async def _kubelet(request: web.BaseRequest) -> web.StreamResponse:
    """Answers only who shows the API server's certificate."""
    shown = peer.certificate(request)
    if shown is None or shown.common_name != "kube-apiserver-kubelet-client":
        return web.Response(status=401, text="Unauthorized")
    if request.path == "/containerLogs/ns/p/c":
        return web.Response(text=f"tail={request.query.get('tailLines')}\n")
    if request.path != "/exec/ns/p/c":
        return web.Response(status=404, text="no such container")
    socket = web.WebSocketResponse(protocols=(channels.V5,))
    await socket.prepare(request)
    await socket.send_bytes(channels.encode(1, " ".join(request.query.getall("command")).encode()))
    async for message in socket:
        assert message.type is WSMsgType.BINARY
        channel, data = channels.decode(message.data)
        if channel == channels.CLOSE:
            break
        await socket.send_bytes(channels.encode(2, data))
    await socket.send_bytes(channels.encode(channels.ERROR, jsonyaml.dumps(channels.exit_status(7))))
    await socket.close()
    return socket


@asynccontextmanager
async def kubelet(root: Path) -> AsyncIterator[tuple[TlsDialer, dict[str, object]]]:
    pki = Pki(str(root))
    server = Server(_kubelet)
    pair = pki.server("kubelet-server-n", "system:node:n", ["127.0.0.1"], ["system:nodes"])
    await server.listen(listeners.tcp("127.0.0.1", 0), tls.server_context(pair, pki.ca.certificate))
    status = {
        "addresses": [{"type": "Hostname", "address": "n.invalid"}, {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": server.addresses[0][1]}},
    }
    try:
        yield TlsDialer(pki), {"metadata": {"name": "n"}, "status": status}
    finally:
        await server.stop(0.1)


def test_logs_and_their_refusal(state_root: Path) -> None:
    async def work() -> None:
        async with kubelet(state_root) as (dialer, node):
            api = dialer.dial(node)
            assert [c async for c in api.logs("ns", "p", "c", {"tailLines": "3"})] == [b"tail=3\n"]
            with pytest.raises(ApiError, match="no such container") as refused:
                [c async for c in api.logs("ns", "p", "other", {})]
            assert refused.value.code == 404

    asyncio.run(work())


def test_exec_both_ways(state_root: Path) -> None:
    async def work() -> None:
        async with kubelet(state_root) as (dialer, node):
            streams = await dialer.dial(node).exec(
                "ns", "p", "c", ["echo", "a b"], stdin=True, stdout=True, stderr=True, tty=False
            )
            try:
                assert await streams.read() == (1, b"echo a b")
                await streams.write(b"x")
                assert await streams.read() == (2, b"x")
                await streams.close_stdin()
                assert await streams.read() is None
                assert await streams.wait() == 7
            finally:
                await streams.close()

    asyncio.run(work())


def test_a_node_that_cannot_be_reached(state_root: Path) -> None:
    async def work() -> None:
        async with kubelet(state_root) as (dialer, node):
            pass
        with pytest.raises(ApiError, match="error dialing backend"):
            [c async for c in dialer.dial(node).logs("ns", "p", "c", {})]

    asyncio.run(work())
