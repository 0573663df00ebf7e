"""The DNS server itself: UDP and TCP on one address, names of the cluster from the zone, all others forwarded.

Until the zone is filled for the first time, questions about the cluster wait: a name error for a Service that exists
would be remembered by the client. Datagrams are answered in the order in which they can be; a TCP connection is
answered in order, at most 100 connections at a time, each closed after ten idle seconds (RFC 7766).
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from dataclasses import replace

from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.dataplane.dns.forward import Forwarder, NoAnswer
from groundplane.dataplane.dns.zone import Zone
from groundplane.wire import dns

_log = Log("dataplane.dns")

_IDLE = 10.0
_MOST_CONNECTIONS = 100
_MOST_WAITING = 2000  # datagrams being answered; more are dropped, and asked again by their clients
_FILL_TIMEOUT = 4.0  # below a resolver's usual five seconds


class CannotListen(GroundError):
    """The DNS address cannot be bound."""


class DnsServer:
    """Cluster DNS. `start` after the Service route exists; `filled` once the zone has the cluster's Services."""

    def __init__(self, zone: Zone, forwarder: Forwarder) -> None:
        self._zone = zone
        self._forwarder = forwarder
        self._tasks = Tasks("dns")
        self._filled = asyncio.Event()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def filled(self) -> None:
        self._filled.set()

    async def start(self, address: str, port: int = 53) -> None:
        """Listen on UDP and TCP. Raises CannotListen."""
        try:
            loop = asyncio.get_running_loop()
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.setblocking(False)
            # A burst of lookups that arrives while the loop is busy should wait, not be lost.
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            try:
                udp.bind((address, port))
            except OSError:
                udp.close()
                raise
            self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=udp)
            self._tcp = await asyncio.start_server(self._connection, address, port, backlog=128)
        except OSError as error:
            await self.stop()
            raise CannotListen(
                f"cluster DNS cannot listen on {address}:{port}: {error.strerror}; is another cluster on this host?"
            ) from error

    async def stop(self) -> None:
        """Close the sockets; questions in flight are given up."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        self._udp = self._tcp = None
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._tasks.stop()
        await self._forwarder.close()

    def datagram(self, data: bytes, client: tuple[str, int]) -> None:
        """A question over UDP."""
        if len(self._tasks) < _MOST_WAITING:
            self._tasks.start("question", self._answer_datagram(data, client))

    async def _answer_datagram(self, data: bytes, client: tuple[str, int]) -> None:
        answer = await self.respond(data)
        if answer is not None and self._udp is not None:
            self._udp.sendto(answer, client)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= _MOST_CONNECTIONS:
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # the client is gone, or has nothing more to ask
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(_IDLE):
                (size,) = struct.unpack(">H", await reader.readexactly(2))
                data = await reader.readexactly(size)
            answer = await self.respond(data, tcp=True)
            if answer is None:
                return
            writer.write(struct.pack(">H", len(answer)) + answer)
            async with asyncio.timeout(_IDLE):
                await writer.drain()

    async def respond(self, data: bytes, *, tcp: bool = False) -> bytes | None:
        """The answer to one message; None where it deserves none (it is an answer itself, or has no head)."""
        try:
            query = dns.decode(data)
        except dns.DnsFormatError:
            if len(data) < 12 or data[2] & 0x80:
                return None
            return dns.encode(dns.Message(int.from_bytes(data[:2], "big"), response=True, code=dns.FORMAT_ERROR))
        if query.response:
            return None
        limit = 65535 if tcp else dns.udp_limit(query)
        if (refusal := _refusal(query)) is not None:
            return dns.encode(refusal, limit)
        if self._zone.holds(query.questions[0].name):
            return dns.encode(await self._from_zone(query, tcp=tcp), limit)
        try:
            return _fit(await self._forwarder.ask(query, tcp=tcp), limit)
        except NoAnswer as error:
            _log.debug("no answer from the host's name servers", reason=error)
            return dns.encode(dns.reply(query, code=dns.SERVER_FAILURE), limit)

    async def _from_zone(self, query: dns.Message, *, tcp: bool) -> dns.Message:
        try:
            async with asyncio.timeout(_FILL_TIMEOUT):
                await self._filled.wait()
        except TimeoutError:
            return dns.reply(query, code=dns.SERVER_FAILURE)
        question = query.questions[0]
        found = self._zone.answer(question.name, question.type)
        records = found.records
        if found.elsewhere is not None:
            records += await self._elsewhere(query, found.elsewhere, tcp=tcp)
        if found.exists and records:
            return dns.reply(query, authoritative=True, answers=records, additional=found.additional)
        code = dns.NO_ERROR if found.exists else dns.NAME_ERROR
        return dns.reply(query, authoritative=True, authority=(self._zone.authority(),), code=code)

    async def _elsewhere(self, query: dns.Message, target: dns.Name, *, tcp: bool) -> tuple[dns.Record, ...]:
        """What the world knows about the target of an ExternalName Service; nothing where it cannot be asked."""
        asked = dns.Question(target, query.questions[0].type)
        question = dns.Message(
            random.getrandbits(16), (asked,), recursion_desired=True, edns=dns.Edns(1232) if query.edns else None
        )
        try:
            return dns.decode(await self._forwarder.ask(question, tcp=tcp)).answers
        except (NoAnswer, dns.DnsFormatError):
            return ()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr)


def _refusal(query: dns.Message) -> dns.Message | None:
    """An error for what is no question of ours, None where it is one."""
    if query.opcode != dns.QUERY:
        return dns.reply(query, code=dns.NOT_IMPLEMENTED)
    if len(query.questions) != 1:
        return dns.reply(query, code=dns.FORMAT_ERROR)
    if query.edns is not None and query.edns.version != 0:
        return dns.reply(query, code=dns.BAD_VERSION)
    question = query.questions[0]
    if question.cls != dns.IN or question.type == dns.AXFR:
        return dns.reply(query, code=dns.REFUSED)
    return None


def _fit(answer: bytes, limit: int) -> bytes:
    """An answer of another server in at most `limit` bytes."""
    if len(answer) <= limit:
        return answer
    return dns.encode(replace(dns.decode(answer), truncated=True), limit)
