"""Ranges that several servers of one store give numbers from: upstream's allocation objects, compared and set.

    /registry/ranges/serviceips, /registry/ranges/servicenodeports      RangeAllocation: one bit for each number
    (pkg/registry/core/service/allocator/storage, pkg/apis/core: RangeAllocation)

    take in the bits and every living Service's numbers ─► choose ─► write the bits back ─► write the Service
        ▲                                                               │ another server was faster
        └───────────────────────────────────────────────────────────────┘

A server that dies between the two writes leaves a bit without a Service. Whoever sees such a bit for ten minutes on end
clears it with its next change (upstream's repair controllers do it after three looks, one in three minutes).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable

from groundplane.apiserver import statuses
from groundplane.apiserver.services.ranges import Range
from groundplane.base import jsonyaml
from groundplane.base.clock import Clock
from groundplane.store.contract import Conflict, Entry, KeyExists, Store

_LEAKED = 600.0  # seconds a bit may be without its Service
_TRIES = 64


class SharedRange:
    """One allocation object and the `pool` that is a copy of it. `text` is the range in upstream's words."""

    def __init__(self, store: Store, clock: Clock, name: str, pool: Range, text: str) -> None:
        self._store = store
        self._clock = clock
        self._key = f"/registry/ranges/{name}"
        self._pool = pool
        self._text = text
        self._entry: Entry | None = None
        self._alone: dict[int, float] = {}  # numbers without a Service, since when

    async def load(self, living: Iterable[int]) -> None:
        """Make the pool what is written, and what `living` Services hold. Raises StoreUnavailable."""
        self._entry = await self._store.get(self._key)
        held = set(living)
        self._pool.replace(held | self._unless_leaked(self._numbers() - held))

    async def save(self) -> bool:
        """Write the pool; False where another server has written since `load`. Raises StoreUnavailable."""
        bits = sum(1 << (n - self._pool.first) for n in self._pool.taken if n in self._pool)
        data = bits.to_bytes((bits.bit_length() + 7) // 8, "big")  # math/big Int.Bytes of allocator/bitmap.go
        value = jsonyaml.dumps(
            {
                "kind": "RangeAllocation",
                "apiVersion": "v1",
                "metadata": {"creationTimestamp": None},
                "range": self._text,
                "data": b64encode(data).decode(),
            }
        )
        try:
            if self._entry is None:
                await self._store.create(self._key, value)
            else:
                await self._store.update(self._key, value, self._entry.revision)
        except (Conflict, KeyExists):
            return False
        return True

    async def free(self, numbers: Iterable[int], living: Iterable[int]) -> None:
        """Give numbers back. Raises StatusError, StoreUnavailable."""
        gone, held = set(numbers), set(living)
        for _ in range(_TRIES):
            await self.load(held)
            if not gone & self._pool.taken:
                return
            for number in gone:
                self._pool.free(number)
            if await self.save():
                return
        raise statuses.internal(f"{self._key} is changed by other servers again and again")

    def _numbers(self) -> set[int]:
        """What is written. Bytes that are not JSON are an upstream server's protobuf: the living Services tell then."""
        if self._entry is None or not self._entry.value.startswith(b"{"):
            return set()
        written = jsonyaml.loads(self._entry.value)
        if written.get("range") != self._text:
            return set()  # another range was configured since: no number of it means the same now
        bits = int.from_bytes(b64decode(written.get("data") or ""), "big")
        return {self._pool.first + n for n in range(bits.bit_length()) if bits >> n & 1}

    def _unless_leaked(self, alone: set[int]) -> set[int]:
        now = self._clock.monotonic()
        self._alone = {n: self._alone.get(n, now) for n in alone}
        return {n for n, since in self._alone.items() if now - since < _LEAKED}
