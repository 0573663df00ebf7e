"""The clients of one supervisor: engines that watch, and attached ones that see output and give input.

Nothing is dropped and nothing piles up: while one attached client has not taken a chunk, the streams are not read, and
the container waits once its FIFO is full, as with docker. Likewise input: while the container does not read, the
client that gave it is not read.
"""

from __future__ import annotations

import select
import time

from groundplane.runtime.resident import slots
from groundplane.runtime.resident.channel import Channel, close_all
from groundplane.wire.spawner import MAX_CHUNK, Adopt, Attach, Message, Output, SpawnerProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from groundplane.runtime.resident.supervisor import Supervisor

_FAREWELL = 10.0  # seconds that an attached client has to take the last output


class Client:
    """One connection: `attached` ones get Output; `pending` is input that the container has not taken yet."""

    __slots__ = ("attached", "channel", "pending")

    def __init__(self, channel: Channel, *, attached: bool = False) -> None:
        self.channel = channel
        self.attached = attached
        self.pending = b""


class Clients:
    """All clients of one supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._all: list[Client] = []

    @property
    def behind(self) -> bool:
        """Whether somebody has not taken yet what was sent: no more output is read until then."""
        return any(client.channel.unsent for client in self._all)

    def __iter__(self) -> Iterator[Client]:
        return iter(self._all)

    def add(self, client: Client) -> Client:
        self._all.append(client)
        self._watch(client)
        return client

    def _watch(self, client: Client) -> None:
        events = (0 if client.pending else select.POLLIN) | (select.POLLOUT if client.channel.unsent else 0)
        self._supervisor.watch(client.channel.fileno(), events, lambda events: self._on_event(client, events))

    def _on_event(self, client: Client, events: int) -> None:
        if events & select.POLLOUT and client.channel.flush():
            self._watch(client)
            self._supervisor.proceed()
        if events & select.POLLIN:
            self._receive(client)
        elif events & (select.POLLHUP | select.POLLERR):
            if client.pending:  # gone, but the container has still to read what it gave
                self._supervisor.unwatch(client.channel.fileno())
            else:
                self.drop(client)

    def _receive(self, client: Client) -> None:
        try:
            received = client.channel.receive()
        except BlockingIOError:
            return
        except SpawnerProtocolError:
            received = None
        if received is None:
            self.drop(client)
            return
        message, fds = received
        close_all(fds)  # no client's message carries any
        if isinstance(message, Attach):
            client.attached = True
        elif isinstance(message, Adopt):
            self._all.remove(client)
            self._supervisor.unwatch(client.channel.fileno())
            self._supervisor.adopt(client.channel)
        else:
            client.pending = self._supervisor.answer(message)
            if client.pending:
                self._watch(client)
                self._supervisor.watch(slots.INPUT, select.POLLOUT, self._on_room)

    def _on_room(self, _events: int) -> None:
        """The container reads again: offer it what waits."""
        streams = self._supervisor.streams
        for client in self._all:
            if client.pending:
                client.pending = streams.feed(client.pending)
                if client.pending:
                    return
                self._watch(client)
        self._supervisor.unwatch(slots.INPUT)

    def input_ended(self) -> None:
        """Nobody will take what waits to be input: its givers are heard again."""
        for client in self._all:
            if client.pending:
                client.pending = b""
                self._watch(client)

    def drop(self, client: Client) -> None:
        """Forget one that has gone; whoever waited for it goes on."""
        self._all.remove(client)
        self._supervisor.unwatch(client.channel.fileno())
        client.channel.close()
        self._supervisor.proceed()

    def output(self, stream: int, data: bytes) -> None:
        """Send to those who are attached; if one cannot take it, reading pauses until it can."""
        for at in range(0, len(data), MAX_CHUNK):
            message = Output(stream, data[at : at + MAX_CHUNK])
            for client in self._all:
                if client.attached:
                    client.channel.send(message)
        if self.behind:
            self._supervisor.pause()
            for client in self._all:
                if client.channel.unsent:
                    self._watch(client)

    def tell_all(self, message: Message) -> None:
        for client in self._all:
            client.channel.send(message)

    def farewell(self) -> None:
        """Close each client once it has taken what is for it, at the latest after `_FAREWELL` seconds."""
        deadline = time.monotonic() + _FAREWELL
        poll = select.poll()
        waiting = {}
        for client in self._all:
            if client.channel.flush():
                client.channel.close()
            else:
                waiting[client.channel.fileno()] = client
                poll.register(client.channel.fileno(), select.POLLOUT)
        while waiting and (rest := deadline - time.monotonic()) > 0:
            for fd, _ in poll.poll(rest * 1000):
                if waiting[fd].channel.flush():
                    poll.unregister(fd)
                    waiting.pop(fd).channel.close()
        for client in waiting.values():
            client.channel.close()
        self._all.clear()
