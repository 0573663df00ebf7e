"""What clients of a server that is killed need of TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def wrapped_or_closed() -> Iterator[None]:
    """Around connecting: ssl.SSLSocket leaves itself open where the connection is reset before its handshake.

    CPython ≤ 3.14, SSLSocket._create: only what fails in the handshake closes it. The collector would warn.
    """
    try:
        yield
    except OSError as error:
        at = error.__traceback__
        while at is not None:
            if isinstance(made := at.tb_frame.f_locals.get("self"), ssl.SSLSocket):
                made.close()
            at = at.tb_next
        raise
