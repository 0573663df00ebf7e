"""Ports for the servers of tests.

A port that bind(2) picks by itself (port 0) is one of those that the kernel also gives to outgoing connections
(ip_local_port_range, 32768 to 60999), of which a test makes thousands: between the look and the server's start, or
while a server is down between its kill and its restart, one of them can take it. So ports are taken from below that
range, and none is given twice in a process.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _COUNT = 20_000, 10_000  # node ports begin at 30000
_numbers = itertools.count(os.getpid() * 97)


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host`, in this network namespace, that is free for TCP and for UDP."""
    for number in itertools.islice(_numbers, _COUNT):
        port = _FIRST + number % _COUNT
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind((host, port))
                datagrams.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {host} between {_FIRST} and {_FIRST + _COUNT} is free")
