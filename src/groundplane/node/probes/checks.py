"""One question to one container: exec, httpGet, tcpSocket or grpc, answered with health and a sentence.

pkg/probe/{exec,http,tcp,grpc}: the sentences are those that the event Unhealthy shows.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from groundplane.base.errors import GroundError
from groundplane.engine.contract import Containers, EngineError, ExecSpec
from groundplane.node.views import ContainerSpec
from groundplane.wire import grpc_health

_MAX_BODY = 10 * 1024  # pkg/probe/http: what of an answer is read
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_USER_AGENT = "kube-probe/1.36"


class ProbeError(GroundError):
    """The question cannot be asked at all, which says nothing about the container."""


@dataclass(frozen=True, slots=True)
class Answer:
    healthy: bool
    output: str = ""


async def check(
    probe: Mapping[str, Any], container: ContainerSpec, container_id: str, address: str, engine: Containers
) -> Answer:
    """Ask once, within the probe's timeoutSeconds. Raises ProbeError, and EngineError where a command cannot be run."""
    seconds = float(probe.get("timeoutSeconds") or 1)
    try:
        async with asyncio.timeout(seconds):
            if "exec" in probe:
                return await _exec(probe["exec"], container_id, engine)
            if "httpGet" in probe:
                return await _http(probe["httpGet"], container, address)
            if "tcpSocket" in probe:
                return await _tcp(probe["tcpSocket"], container, address)
            if "grpc" in probe:
                return await _grpc(probe["grpc"], address)
    except TimeoutError:
        if "exec" in probe:
            return Answer(False, f"command timed out after {int(seconds)}s")
        if "httpGet" in probe:
            url = _url(probe["httpGet"], container, address)
            return Answer(
                False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
            )
        if "grpc" in probe:
            return Answer(False, f"timeout: health rpc did not complete within {seconds:g}s")
        target = probe.get("tcpSocket") or {}
        return Answer(False, f"dial tcp {target.get('host') or address}:{_port(target, container)}: i/o timeout")
    raise AssertionError(f"a probe has one of four handlers (validated by the API server): {sorted(probe)}")


async def _exec(action: Mapping[str, Any], container_id: str, engine: Containers) -> Answer:
    opening = asyncio.ensure_future(engine.exec(container_id, ExecSpec(argv=tuple(action.get("command") or ()))))
    try:
        streams = await asyncio.shield(opening)
    except asyncio.CancelledError:  # the time is over while the command begins: it would go on for ever
        with suppress(EngineError):
            streams = await opening
            await streams.kill()
            await streams.close()
        raise
    output = b""
    try:
        while (chunk := await streams.read()) is not None:
            output = (output + chunk[1])[:_MAX_BODY]
        code = await streams.wait()
    except BaseException:
        await streams.kill()
        raise
    finally:
        await streams.close()
    return Answer(code == 0, output.decode(errors="replace"))


def _port(action: Mapping[str, Any], container: ContainerSpec) -> int:
    port = action.get("port")
    if isinstance(port, int):
        return port
    for declared in container.get("ports") or ():
        if declared.get("name") == port:
            return int(declared["containerPort"])
    if isinstance(port, str) and port.isdigit():
        return int(port)
    raise ProbeError(f'strconv.Atoi: parsing "{port}": invalid syntax')  # pkg/probe/util.go, ResolveContainerPort


def _url(action: Mapping[str, Any], container: ContainerSpec, address: str) -> str:
    scheme = str(action.get("scheme", "HTTP")).lower()
    path = str(action.get("path") or "/")
    return (
        f"{scheme}://{action.get('host') or address}:{_port(action, container)}{path if path[0] == '/' else '/' + path}"
    )


async def _http(action: Mapping[str, Any], container: ContainerSpec, address: str) -> Answer:
    """200 to 399 is healthy. Redirects are followed while they stay at the host (pkg/probe/http, RedirectChecker)."""
    url = first = _url(action, container, address)
    try:
        for _ in range(_MOST_REDIRECTS):
            answer, location = await _get(url, action)
            if not location:
                return answer
            url = urljoin(url, location)
            if urlsplit(url).hostname != urlsplit(first).hostname:
                return answer
    except ValueError as error:  # a host or a redirect that is none; a line without an end (StreamReader: 64 KiB)
        return Answer(False, f'Get "{url}": malformed HTTP response: {error}')
    return Answer(False, f'Get "{url}": stopped after {_MOST_REDIRECTS} redirects')


async def _get(url: str, action: Mapping[str, Any]) -> tuple[Answer, str]:
    """What one request says, and where a redirect leads. Raises ValueError where what came is no HTTP."""
    where = urlsplit(url)
    host, port = where.hostname or "", where.port or _PORTS.get(where.scheme, 0)
    tls = None
    if where.scheme == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the host's authorities are not read: it would take 20 ms
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE  # kubelet does not verify a probe's certificate
    path = quote((where.path or "/") + (f"?{where.query}" if where.query else ""), safe="/?%:@!$&'()*+,;=~")
    request = f"GET {path} HTTP/1.1\r\n{_headers(action, where.netloc)}\r\n"
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError as error:
        return Answer(False, f'Get "{url}": dial tcp {host}:{port}: connect: {_words(error)}'), ""
    try:
        writer.write(request.encode())
        await writer.drain()
        status = (await reader.readline()).split()
        if len(status) < 2 or not status[1].isdigit():
            return Answer(False, f'Get "{url}": malformed HTTP response'), ""
        code = int(status[1])
        if 200 <= code < 400:
            return Answer(True), await _location(reader) if code in _REDIRECTS else ""
        return Answer(False, f"HTTP probe failed with statuscode: {code}"), ""
    except OSError as error:
        return Answer(False, f'Get "{url}": {_words(error)}'), ""
    finally:
        writer.close()


async def _location(reader: asyncio.StreamReader) -> str:
    while line := (await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"location":
            return value.strip().decode("latin-1")
    return ""


def _headers(action: Mapping[str, Any], host: str) -> str:
    """The probe's own, and ours where it has none of that name."""
    wanted = [(h["name"], h["value"]) for h in action.get("httpHeaders") or ()]
    names = {name.lower() for name, _ in wanted}
    ours = {"Host": host, "User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
    both = [*((name, value) for name, value in ours.items() if name.lower() not in names), *wanted]
    return "".join(f"{name}: {value}\r\n" for name, value in both)


async def _tcp(action: Mapping[str, Any], container: ContainerSpec, address: str) -> Answer:
    host, port = action.get("host") or address, _port(action, container)
    try:
        _, writer = await asyncio.open_connection(host, port)
    except (OSError, UnicodeError) as error:
        return Answer(False, f"dial tcp {host}:{port}: connect: {_words(error)}")
    writer.close()
    return Answer(True)


async def _grpc(action: Mapping[str, Any], address: str) -> Answer:
    """pkg/probe/grpc: SERVING is healthy."""
    port, service = int(action["port"]), str(action.get("service") or "")
    try:
        reader, writer = await asyncio.open_connection(address, port)
    except OSError as error:
        return Answer(
            False, f'error: failed to connect service at "{address}:{port}": connection error: {_words(error)}'
        )
    answer = grpc_health.Answer()
    try:
        writer.write(grpc_health.request(f"{address}:{port}", service))
        while not answer.done and (data := await reader.read(_MAX_BODY)):
            answer.feed(data)
            writer.write(answer.reply)
            answer.reply.clear()
    except (OSError, grpc_health.GrpcHealthError) as error:
        return Answer(False, f"error: health rpc probe failed: {error}")
    finally:
        writer.close()
    if answer.status == "SERVING":
        return Answer(True, 'service healthy (responded with "SERVING")')
    if answer.status:
        return Answer(False, f'service unhealthy (responded with "{answer.status}")')
    return Answer(False, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)")


def _words(error: Exception) -> str:
    return os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else str(error)
