"""Many changes, one commit: packets see the state before or the state after, and a refusal changes nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from groundplane.kernel.netlink.channel import Channel, Request

# struct nfgenmsg of NFNL_MSG_BATCH_BEGIN and _END: res_id names the subsystem (nf_tables: 10).
_BATCH = struct.pack(">BBH", 0, 0, 10)


class Transaction:
    """Requests in the order in which they are to happen; `commit` once."""

    def __init__(self, requests: Iterable[Request] = ()) -> None:
        self.requests = list(requests)
        self._next_id = 1

    def add(self, *requests: Request) -> None:
        self.requests += requests

    def extend(self, requests: Iterable[Request]) -> None:
        self.requests += requests

    def set_id(self) -> int:
        """A number for an anonymous set of this transaction."""
        self._next_id += 1
        return self._next_id

    def __len__(self) -> int:
        return len(self.requests)

    def commit(self, channel: Channel) -> None:
        """All or nothing. Raises NetlinkError naming the request that was refused. An empty one is no call at all."""
        if self.requests:
            channel.batch(_BATCH, self.requests, _BATCH)
