"""Listeners and the HTTP server: ports in use, unix sockets, limits, peers, a graceful end."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from groundplane.serve import listeners
from groundplane.serve.peer import certificate as certificate_of
from groundplane.serve.peer import process
from groundplane.serve.pki import Pki
from groundplane.serve.server import Limits, Server
from groundplane.serve.tls import client_context, server_context


def test_a_port_in_use_names_the_port_and_its_owner() -> None:
    with listeners.tcp("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(listeners.ListenError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            listeners.tcp("127.0.0.1", port)
        assert f"(pid {os.getpid()})" in str(caught.value)


def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(listeners.ListenError, match="no such address"):
        listeners.tcp("192.0.2.1", 0)


def test_every_address_means_both_families() -> None:
    with listeners.tcp("", 0) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 5):
        pass


def test_a_unix_socket_replaces_a_dead_one_and_refuses_a_living_one(state_root: Path) -> None:
    path = str(state_root / "s.sock")
    with listeners.unix(path, mode=0o660):
        assert os.stat(path).st_mode & 0o777 == 0o660
        with pytest.raises(listeners.ListenError, match="another process listens"):
            listeners.unix(path)
    with listeners.unix(path) as again, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        server, _ = again.accept()
        with server:
            assert listeners.peer_of(server) == (os.getpid(), os.getuid(), os.getgid())
    assert sorted(p.name for p in state_root.iterdir()) == ["s.sock"]


def test_a_bad_unix_path_is_told(state_root: Path) -> None:
    with pytest.raises(listeners.ListenError, match="107"):
        listeners.unix(f"{state_root}/{'x' * 120}")
    (state_root / "file").write_text("")
    with pytest.raises(listeners.ListenError, match="in the way"):
        listeners.unix(f"{state_root}/file")
    with pytest.raises(listeners.ListenError, match="No such file"):
        listeners.unix(f"{state_root}/missing/s.sock")


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    try:
        return web.Response(body=b"%d" % len(await request.read()))
    except web.HTTPRequestEntityTooLarge:
        return web.Response(status=413)


def test_limits(state_root: Path) -> None:
    async def scenario() -> None:
        server = Server(echo, Limits(body=1000, headers=4096))
        await server.listen(listeners.tcp("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.addresses[0][1]}/"
        async with aiohttp.ClientSession() as client:
            for size, status in ((0, 200), (1000, 200), (1001, 413), (100_000, 413)):
                async with client.post(url, data=b"x" * size) as answer:
                    assert answer.status == status, size
            async with client.get(url, headers={"X": "y" * 4000}) as answer:
                assert answer.status == 200
            async with client.get(url, headers={"X": "y" * 9000}) as answer:
                assert answer.status == 400
        await server.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_peers_over_tls_and_unix(state_root: Path) -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((certificate_of(request), process(request)))
        return web.Response()

    async def scenario() -> None:
        pki = Pki(str(state_root / "pki"))
        pair = pki.server("server", "server", ["localhost", "127.0.0.1"])
        jane = pki.client("jane", "jane", ["devs", "ops"])
        server = Server(handler)
        await server.listen(listeners.tcp("127.0.0.1", 0), server_context(pair, pki.ca.certificate))
        await server.listen(listeners.unix(str(state_root / "s.sock")))
        port = server.addresses[0][1]
        for context in (client_context(pki.ca.certificate, jane), client_context(pki.ca.certificate)):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client:
                for _ in range(2):
                    async with client.get(f"https://localhost:{port}/"):
                        pass
        unix = aiohttp.UnixConnector(str(state_root / "s.sock"))
        async with aiohttp.ClientSession(connector=unix) as client, client.get("http://unix/"):
            pass
        await server.stop()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    certificate, behind = seen[0]
    assert certificate is not None and behind is None
    assert (certificate.common_name, certificate.organizations) == ("jane", ("devs", "ops"))
    assert len(certificate.sha256) == 64
    assert seen[1][0] is certificate
    assert seen[2:4] == [(None, None)] * 2
    assert seen[4] == (None, (os.getpid(), os.getuid(), os.getgid()))


def test_stopping_lets_requests_finish_and_ends_what_does_not(state_root: Path) -> None:
    async def scenario() -> None:
        begun, let_go, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            begun.set()
            if request.path == "/stuck":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.set()
                    raise
            await let_go.wait()
            return web.Response(body=b"done")

        server = Server(handler)
        await server.listen(listeners.tcp("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.addresses[0][1]}"
        async with aiohttp.ClientSession() as client:
            slow = asyncio.create_task(client.get(url + "/slow"))
            await begun.wait()
            stopping = asyncio.create_task(server.stop(grace=10))
            while server.addresses:
                await asyncio.sleep(0)
            let_go.set()
            async with await slow as answer:
                assert await answer.read() == b"done"
            await stopping
            with pytest.raises(aiohttp.ClientConnectorError):
                await client.get(url + "/late")
        begun.clear()
        server = Server(handler)
        await server.listen(listeners.tcp("127.0.0.1", 0))
        async with aiohttp.ClientSession() as client:
            stuck = asyncio.create_task(client.get(f"http://127.0.0.1:{server.addresses[0][1]}/stuck"))
            await begun.wait()
            await server.stop(grace=0.01)
            await server.stop()
            await cancelled.wait()
            with pytest.raises(aiohttp.ClientError):
                await stuck

    asyncio.run(asyncio.wait_for(scenario(), 30))
