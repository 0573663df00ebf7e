"""Nodes over the network: the kubelet's HTTPS API, where we show the certificate `apiserver-kubelet-client`.

    GET /containerLogs/NAMESPACE/POD/CONTAINER?follow=true…             the log, chunk by chunk
    GET /exec/NAMESPACE/POD/CONTAINER?command=…&input=1&output=1…       websocket channels (v5, v4)

A node is reached at its InternalIP (else its Hostname) and status.daemonEndpoints.kubeletEndpoint.Port, as upstream's
--kubelet-preferred-address-types has it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote

import aiohttp

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.client.contract import ApiError, ConnectionLost
from groundplane.client.streams import ChannelStreams, connect, refusal
from groundplane.serve import tls
from groundplane.serve.pki import Pki

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
                    raise ApiError(refusal(response.status, await response.read()))
                async for chunk in response.content.iter_any():
                    yield chunk
        except aiohttp.ClientError as error:
            raise _unreachable(self._url, error) from error

    async def exec(
        self, namespace: str, pod: str, container: str, command: list[str],
        *, stdin: bool, stdout: bool, stderr: bool, tty: bool,
    ) -> ChannelStreams:  # fmt: skip
        flags = {"input": stdin, "output": stdout, "error": stderr, "tty": tty}
        params = [("command", c) for c in command] + [(name, "1") for name, on in flags.items() if on]
        path = f"/exec/{quote(namespace)}/{quote(pod)}/{quote(container)}"
        try:
            return await connect(self._url + path, params, tls=self._context)
        except ConnectionLost as error:
            raise _unreachable(self._url, error) from error


def _unreachable(url: str, error: Exception) -> ApiError:
    return ApiError(statuses.internal(f"error dialing backend: {url}: {error}").to_object())
