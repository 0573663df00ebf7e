"""Questions that are not the cluster's go to the host's own name servers (`/etc/resolv.conf`), as CoreDNS `forward`.

    question ──► remembered? ──yes──► answer (`cache`)
                     │no
                     ▼
                 the same question in flight? ──yes──► wait for its answer
                     │no
                     ▼
              server 1 ──no answer in 2 s, or none at all──► server 2 ──► … ──► SERVFAIL

A question that comes back to us (a host resolver that asks this very server) joins its own first asking instead of
being sent again: a loop ends with a timeout, not with a storm. A name server that did not answer is asked last for the
next ten seconds. At most 1,000 questions are in flight; more are refused at once with SERVFAIL.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import struct
from collections.abc import Callable, Collection
from dataclasses import replace

from groundplane.base.clock import Clock
from groundplane.base.errors import UnavailableError
from groundplane.dataplane.dns.cache import AnswerCache
from groundplane.wire import dns

RESOLV_CONF = "/etc/resolv.conf"
_TIMEOUT = 2.0
_AVOID = 10.0
_MOST_IN_FLIGHT = 1000
_MOST_SERVERS = 3  # resolv.conf(5) MAXNS
_PORT = 53


class NoAnswer(UnavailableError):
    """No name server of this host answered."""


class Forwarder:
    """Asks the host's name servers. `own` are addresses that are ourselves, and never asked."""

    def __init__(
        self,
        clock: Clock,
        own: Collection[str],
        resolv_conf: str = RESOLV_CONF,
        port: int = _PORT,
        *,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._clock = clock
        self._own = frozenset(own)
        self._path = resolv_conf
        self._port = port
        self._timeout = timeout
        self._cache = AnswerCache(clock)
        self._servers: list[str] = []
        self._stamp = (0, 0)
        self._silent_until: dict[str, float] = {}
        self._in_flight: dict[tuple[bytes, bool], asyncio.Task[bytes]] = {}

    async def ask(self, query: dns.Message, *, tcp: bool = False) -> bytes:
        """The answer's bytes with the query's own id. Raises NoAnswer."""
        # The id is ours towards the server: what a client chose should not make an answer guessable.
        asked = replace(query, id=0, additional=())
        packed = dns.encode(asked)
        if (known := self._cache.get(packed)) is not None:
            return dns.encode(replace(known, id=query.id))
        key = packed, tcp
        task = self._in_flight.get(key)
        if task is None:
            if len(self._in_flight) >= _MOST_IN_FLIGHT:
                raise NoAnswer("too many DNS questions in flight")
            task = asyncio.get_running_loop().create_task(self._resolve(asked, tcp=tcp))
            self._in_flight[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # Shielded, because others may be waiting for the same answer when this client goes away.
        answer = await asyncio.shield(task)
        return query.id.to_bytes(2, "big") + answer[2:]

    def _ended(self, key: tuple[bytes, bool], task: asyncio.Task[bytes]) -> None:
        del self._in_flight[key]
        if not task.cancelled():
            task.exception()  # seen, though every client that waited for it may have gone away

    async def close(self) -> None:
        """Give up on everything in flight."""
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def servers(self) -> list[str]:
        """The host's name servers in the order in which they are asked now."""
        try:
            found = os.stat(self._path)
        except OSError:
            return []
        if (found.st_mtime_ns, found.st_ino) != self._stamp:
            self._stamp = (found.st_mtime_ns, found.st_ino)
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._servers = [s for s in read_servers(file.read()) if s not in self._own]
        now = self._clock.monotonic()
        return sorted(self._servers, key=lambda server: self._silent_until.get(server, 0.0) > now)

    async def _resolve(self, query: dns.Message, *, tcp: bool) -> bytes:
        for server in self.servers():
            exchange = _over_tcp if tcp else _over_udp
            try:
                question = replace(query, id=secrets.randbits(16))
                async with asyncio.timeout(self._timeout):
                    answer = await exchange(server, self._port, question)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._silent_until[server] = self._clock.monotonic() + _AVOID
                continue
            self._silent_until.pop(server, None)
            self._cache.put(dns.encode(query), dns.decode(answer))
            return answer
        raise NoAnswer(f"none of the name servers in {self._path} answered")


def read_servers(text: str) -> list[str]:
    """The `nameserver` lines of a resolv.conf, at most three, as resolv.conf(5) reads them."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            found.append(words[1].partition("%")[0])
    return found[:_MOST_SERVERS]


def _answers(query: dns.Message, data: bytes) -> bool:
    """Whether the bytes are an answer to this query, and not a stray or forged datagram."""
    try:
        answer = dns.decode(data)
    except dns.DnsFormatError:
        return False
    if not answer.response or answer.id != query.id:
        return False
    # Servers that refuse a query for its form may leave the question out.
    return not answer.questions or _folded(answer) == _folded(query)


def _folded(message: dns.Message) -> list[tuple[dns.Name, int, int]]:
    return [(dns.fold(q.name), q.type, q.cls) for q in message.questions]


class _Exchange(asyncio.DatagramProtocol):
    """One question on a socket of its own: the kernel gives it a random port, and drops other senders' datagrams."""

    def __init__(self, accept: Callable[[bytes], bool]) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._accept = accept

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done() and self._accept(data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _over_udp(server: str, port: int, query: dns.Message) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: _Exchange(lambda data: _answers(query, data)), remote_addr=(server, port)
    )
    try:
        transport.sendto(dns.encode(query))
        return await protocol.answer
    finally:
        transport.close()


async def _over_tcp(server: str, port: int, query: dns.Message) -> bytes:
    reader, writer = await asyncio.open_connection(server, port)
    try:
        data = dns.encode(query)
        writer.write(struct.pack(">H", len(data)) + data)
        while True:
            (size,) = struct.unpack(">H", await reader.readexactly(2))
            answer = await reader.readexactly(size)
            if _answers(query, answer):
                return answer
    finally:
        writer.close()
