"""Who is at the other end of a connection: the client certificate of TLS, the process behind a unix socket."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from groundplane.serve.listeners import peer_of


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The subject of a client certificate that our CA signed, and the SHA-256 of the whole in hex."""

    common_name: str
    organizations: tuple[str, ...]
    sha256: str


class Peers:
    """The certificates of open connections, each read once: a connection carries many requests."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[asyncio.BaseTransport, PeerCertificate | None] = WeakKeyDictionary()

    def certificate(self, transport: asyncio.BaseTransport | None) -> PeerCertificate | None:
        """The verified certificate that the peer has shown, None where it has shown none."""
        if transport is None:
            return None
        try:
            return self._known[transport]
        except KeyError:
            found = self._known[transport] = _read(transport)
            return found


def _read(transport: asyncio.BaseTransport) -> PeerCertificate | None:
    shown: dict[str, Any] = transport.get_extra_info("peercert") or {}
    if not shown:
        return None
    words = [pair for part in shown.get("subject", ()) for pair in part]
    names = [value for key, value in words if key == "commonName"]
    organizations = tuple(value for key, value in words if key == "organizationName")
    ssl_object = transport.get_extra_info("ssl_object")
    der = ssl_object.getpeercert(True) if ssl_object is not None else b""
    return PeerCertificate(names[-1] if names else "", organizations, hashlib.sha256(der).hexdigest())


def process(transport: asyncio.BaseTransport | None) -> tuple[int, int, int] | None:
    """(pid, uid, gid) at the other end of a unix socket, None elsewhere."""
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    return peer_of(connection)
