"""TLS contexts: servers that may ask for a client certificate, clients that trust our CA."""

from __future__ import annotations

import ssl

from groundplane.base.errors import GroundError
from groundplane.serve.pki import Pair


class TlsError(GroundError):
    """A key or certificate is not usable."""


def server_context(pair: Pair, client_ca: str = "") -> ssl.SSLContext:
    """A server's context. With `client_ca` (a PEM file) a client may show a certificate, which is then verified.

    Nobody is refused for showing none: who that is, is the server's business (anonymous, a bearer token). Session
    tickets are on (OpenSSL's default), so that a client that comes again pays a short handshake.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # no HTTP/2 here; said so, clients do not try
    _load(context, pair)
    if client_ca:
        context.verify_mode = ssl.CERT_OPTIONAL
        _trust(context, client_ca)
    return context


def client_context(ca: str, pair: Pair | None = None) -> ssl.SSLContext:
    """A client's context that trusts `ca` (a PEM file) alone and shows `pair`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, ca)
    if pair is not None:
        _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: Pair) -> None:
    try:
        context.load_cert_chain(pair.certificate, pair.key)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"TLS: {pair.certificate} with {pair.key} cannot be used: {error}") from error


def _trust(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"TLS: the certificates of {ca} cannot be read: {error}") from error
