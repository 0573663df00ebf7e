"""Nodes over the network: the kubelet's HTTPS API, where we show the certificate `apiserver-kubelet-client`.

    GET /containerLogs/NAMESPACE/POD/CONTAINER?follow=true…             the log, chunk by chunk
    GET /exec/NAMESPACE/POD/CONTAINER?command=…&input=1&output=1…       websocket channels (v5, v4)

A node is reached at its InternalIP (else its Hostname) and status.daemonEndpoints.kubeletEndpoint.Port, as upstream's
--kubelet-preferred-address-types has it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.base import jsonyaml
from groundplane.client.contract import ApiError
from groundplane.serve import tls
from groundplane.serve.pki import Pki
from groundplane.wire import channels

_PREFERRED = ("InternalIP", "Hostname", "ExternalIP")
_CONNECT = 10.0  # seconds; a log that is followed may be silent for as long as it likes


class TlsDialer:
    """Connections to kubelets. Made from the cluster's PKI; one connection a call, since streams are long."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._context: ssl.SSLContext | None = None

    def dial(self, node: Object) -> KubeletApi:
        """Raises StatusError where the node does not say how it is reached."""
        if self._context is None:
            pair = self._pki.client("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"])
            self._context = tls.client_context(self._pki.ca.certificate, pair)
        return KubeletApi(_address(node), self._context)


def _address(node: Object) -> str:
    status, name = node.get("status") or {}, node["metadata"]["name"]
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
    known = {a["type"]: a["address"] for a in reversed(status.get("addresses") or [])}
    host = next((known[t] for t in _PREFERRED if t in known), "")
    if not host or not port:
        raise statuses.internal(
            f"no preferred addresses found for node {name}; known addresses: {list(known.values())}"
        )
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


class KubeletApi:
    """One kubelet; `contract.NodeApi`."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._url = url
        self._context = context

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=1)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT)
        return aiohttp.ClientSession(self._url, connector=connector, timeout=timeout)

    async def logs(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        path = f"/containerLogs/{quote(namespace)}/{quote(pod)}/{quote(container)}"
        try:
            async with self._session() as session, session.get(path, params=query) as response:
                if response.status != 200:
                    raise _refused(response.status, await response.read())
                async for chunk in response.content.iter_any():
                    yield chunk
        except aiohttp.ClientError as error:
            raise _unreachable(self._url, error) from error

    async def exec(
        self, namespace: str, pod: str, container: str, command: list[str],
        *, stdin: bool, stdout: bool, stderr: bool, tty: bool,
    ) -> KubeletStreams:  # fmt: skip
        flags = {"input": stdin, "output": stdout, "error": stderr, "tty": tty}
        params = [("command", c) for c in command] + [(name, "1") for name, on in flags.items() if on]
        session = self._session()
        try:
            socket = await session.ws_connect(
                f"/exec/{quote(namespace)}/{quote(pod)}/{quote(container)}",
                params=params,
                protocols=(channels.V5, channels.V4),
                max_msg_size=0,
            )
        except aiohttp.WSServerHandshakeError as error:
            await session.close()
            raise _refused(error.status, error.message.encode()) from error
        except aiohttp.ClientError as error:
            await session.close()
            raise _unreachable(self._url, error) from error
        return KubeletStreams(session, socket)


class KubeletStreams:
    """A process' streams behind a websocket; `contract.Streams`."""

    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._code: int | None = None

    async def write(self, data: bytes) -> None:
        await self._socket.send_bytes(channels.encode(channels.STDIN, data))

    async def close_stdin(self) -> None:
        if self._socket.protocol == channels.V5:  # v4 has no word for it
            await self._socket.send_bytes(bytes((channels.CLOSE, channels.STDIN)))

    async def read(self) -> tuple[int, bytes] | None:
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                continue
            channel, data = channels.decode(message.data)
            if channel in (channels.STDOUT, channels.STDERR):
                if data:
                    return channel, data
            elif channel == channels.ERROR:
                self._code = channels.read_exit(data)
                return None
        return None

    async def resize(self, rows: int, columns: int) -> None:
        await self._socket.send_bytes(channels.encode(channels.RESIZE, channels.write_size(rows, columns)))

    async def wait(self) -> int:
        while self._code is None and await self.read() is not None:
            pass
        return 1 if self._code is None else self._code  # the node went away before it said

    async def close(self) -> None:
        await self._socket.close()
        await self._session.close()


def _refused(code: int, body: bytes) -> ApiError:
    """The kubelet's refusal as it is, where it is a Status, else as a sentence."""
    try:
        status: Any = jsonyaml.loads(body)
    except jsonyaml.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return ApiError(status)
    text = body.decode(errors="replace").strip() or f"the kubelet answered {code}"
    reason = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound"}.get(code, "InternalError")
    return ApiError(statuses.StatusError(code, reason, text).to_object())


def _unreachable(url: str, error: Exception) -> ApiError:
    return ApiError(statuses.internal(f"error dialing backend: {url}: {error}").to_object())
