"""Who is at the other end of a connection: the client certificate of TLS, the process behind a unix socket."""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from groundplane.serve.listeners import peer_of


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The subject of a client certificate that our CA signed, and the SHA-256 of the whole in hex."""

    common_name: str
    organizations: tuple[str, ...]
    sha256: str


class Connection(web.RequestHandler):
    """One connection of a `server.Server`, with room for what its peer has shown.

    (Not a weak dictionary by transport: uvloop's transports cannot be weakly referenced.)
    """

    __slots__ = ("peer_certificate",)


def certificate(request: web.BaseRequest) -> PeerCertificate | None:
    """The verified certificate that the client has shown, None where it has shown none; read once a connection."""
    connection: Any = request.protocol
    try:
        known: PeerCertificate | None = connection.peer_certificate
    except AttributeError:
        known = connection.peer_certificate = _read(request.get_extra_info("ssl_object"))
    return known


def _read(ssl_object: Any) -> PeerCertificate | None:
    shown: dict[str, Any] = (ssl_object.getpeercert() if ssl_object is not None else None) or {}
    if not shown:
        return None
    words = [pair for part in shown.get("subject", ()) for pair in part]
    names = [value for key, value in words if key == "commonName"]
    organizations = tuple(value for key, value in words if key == "organizationName")
    digest = hashlib.sha256(ssl_object.getpeercert(True)).hexdigest()
    return PeerCertificate(names[-1] if names else "", organizations, digest)


def process(request: web.BaseRequest) -> tuple[int, int, int] | None:
    """(pid, uid, gid) at the other end of a unix socket, None elsewhere."""
    connection = request.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    return peer_of(connection)
