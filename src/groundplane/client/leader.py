"""Leader election by a Lease, for loops that run as processes of their own: at most one of them acts.

client-go tools/leaderelection: a holder renews every 2 s; who has not seen the lease change for 15 s on its *own* clock
may take it; a holder that could not renew for 10 s stops, before anyone else may start. No two clocks are compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from groundplane.base.clock import Clock, rfc3339_micro
from groundplane.base.log import Log
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, ConnectionLost, Object

_log = Log("client.leader")


@dataclass(frozen=True, slots=True)
class LeaseWords:
    """Which lease, whose, and upstream's default intervals in seconds."""

    name: str
    identity: str
    namespace: str = "kube-system"
    duration: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0


class Leader:
    """One candidate."""

    def __init__(self, client: Client, clock: Clock, words: LeaseWords) -> None:
        self._leases = client.leases
        self._clock = clock
        self._words = words
        self._seen: Object | None = None
        self._seen_at = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, then run `lead`; return when it ends, or, it cancelled, when the lease is lost."""
        while not await self._try():
            await self._clock.sleep(self._words.retry)
        _log.info("leading", lease=self._words.name, identity=self._words.identity)
        work = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait((work, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            renewing.cancel()
            work_ended = work.done()
            work.cancel()
            await asyncio.gather(work, renewing, return_exceptions=True)
        if work_ended:
            await self._release()
            work.result()
        else:
            _log.error("lease lost", lease=self._words.name, identity=self._words.identity)

    async def _renew(self) -> None:
        """Renew for ever; return when it failed for `renew_deadline` seconds."""
        good = self._clock.monotonic()
        while (left := good + self._words.renew_deadline - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(self._words.retry, left))
            began = self._clock.monotonic()
            if await self._try_within(good + self._words.renew_deadline - began):
                good = began  # others count from when it was written, which is not before this

    async def _try_within(self, seconds: float) -> bool:
        """A server that does not answer has not renewed the lease."""
        trying = asyncio.ensure_future(self._try())
        over = asyncio.ensure_future(self._clock.sleep(max(seconds, 0)))
        try:
            await asyncio.wait((trying, over), return_when=asyncio.FIRST_COMPLETED)
            return trying.done() and trying.result()
        finally:
            trying.cancel()
            over.cancel()
            await asyncio.gather(trying, over, return_exceptions=True)

    async def _try(self) -> bool:
        """Take or renew the lease; whether we hold it now."""
        try:
            return await self._take()
        except (ApiError, ConnectionLost) as error:
            _log.debug("lease not taken", lease=self._words.name, error=error)
            return False

    async def _take(self) -> bool:
        words = self._words
        now = rfc3339_micro(self._clock.time())
        try:
            lease = await self._leases.get(words.name, words.namespace)
        except ApiError as error:
            if not error.is_not_found:
                raise
            self._observe(await self._leases.create(self._lease({}, now, now, 0)))
            return True
        spec = lease.get("spec") or {}
        if self._seen is None or self._seen.get("spec") != spec:
            self._observe(lease)
        holder = spec.get("holderIdentity") or ""
        fresh = self._clock.monotonic() - self._seen_at < words.duration
        if holder and holder != words.identity and fresh:
            return False
        transitions = int(spec.get("leaseTransitions") or 0)
        if holder == words.identity:
            body = self._lease(lease, spec.get("acquireTime") or now, now, transitions)
        else:
            body = self._lease(lease, now, now, transitions + 1)
        self._observe(await self._leases.update(body))
        return True

    async def _release(self) -> None:
        """Give the lease up, so that the next one need not wait."""
        try:
            lease = await self._leases.get(self._words.name, self._words.namespace)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") == self._words.identity:
                freed = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
                await self._leases.update({**lease, "spec": freed})
        except (ApiError, ConnectionLost) as error:
            _log.debug("lease not released", lease=self._words.name, error=error)

    def _observe(self, lease: Object) -> None:
        self._seen = lease
        self._seen_at = self._clock.monotonic()

    def _lease(self, old: Object, acquired: str, renewed: str, transitions: int) -> Object:
        metadata = old.get("metadata") or {"name": self._words.name, "namespace": self._words.namespace}
        spec = {
            "holderIdentity": self._words.identity,
            "leaseDurationSeconds": self._words.duration,
            "acquireTime": acquired,
            "renewTime": renewed,
            "leaseTransitions": transitions,
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
