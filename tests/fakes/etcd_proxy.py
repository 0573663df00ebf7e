"""A proxy before one etcd that loses what a test says: the question, the answer, or the question until later.

async with Proxy(member) as proxy:
    store = await open_store(f"etcd://{proxy.address}")
    proxy.lose("answer", key="/a")          # of the next transaction that names the key
"""

from __future__ import annotations

import asyncio
from base64 import b64encode

from tests.fakes.etcd import Member


class Proxy:
    """HTTP/1.1 with Content-Length in, whatever comes back out; one connection to etcd for each of a client's."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self._target = member.address.rpartition(":")
        self._plans: list[tuple[str, bytes]] = []
        self._late: list[bytes] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = False
        self.lost = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def lose(self, what: str, key: str) -> None:
        """`question`: it never arrives. `answer`: it is carried out. `late`: it arrives when `deliver` says so."""
        self._plans.append((what, b'{"compare":[{"key":"' + b64encode(key.encode()) + b'"'))

    async def deliver(self) -> list[bytes]:
        """Send the late questions on; etcd's answers, which nobody else gets."""
        answers = []
        for question in self._late:
            reader, writer = await asyncio.open_connection(self._target[0], int(self._target[2]))
            writer.write(question)
            head = await reader.readuntil(b"\r\n\r\n")
            answers.append(head + await _body(reader, head))
            writer.close()
            await writer.wait_closed()
        self._late = []
        return answers

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        pump: asyncio.Task[None] | None = None
        try:
            answers, upstream = await asyncio.open_connection(self._target[0], int(self._target[2]))
            pump = asyncio.ensure_future(_pump(answers, writer))
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                question = head + await _body(reader, head)
                plan = self._plan(question)
                if plan:
                    self.lost += 1
                    pump.cancel()
                    if plan == "answer":
                        upstream.write(question)
                        await answers.readuntil(b"\r\n\r\n")
                    elif plan == "late":
                        self._late.append(question)
                    return
                upstream.write(question)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            for end in (writer, upstream):
                if end is not None:
                    end.close()

    def _plan(self, question: bytes) -> str:
        for plan in self._plans:
            if plan[1] in question:
                self._plans.remove(plan)
                return plan[0]
        return ""


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    return b""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
