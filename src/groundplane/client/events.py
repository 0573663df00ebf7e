"""The event recorder: what a loop did, told to the user as core/v1 Event objects, never at the cost of the loop.

`event` only queues; one task writes, one event at a time. When 1,000 wait, further ones are dropped, as upstream's
broadcaster does: events are a courtesy, not a record.

Two shapes, as upstream's components write them: with a count (controllers, kubelet: tools/record), correlated by
`correlate`; and with a series (the scheduler: tools/events, events.k8s.io), chosen by giving an `action`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from groundplane.base.clock import Clock, rfc3339_micro
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, ConnectionLost, Object
from groundplane.client.correlate import Correlator, Recent, stamped

_log = Log("client.events")

NORMAL = "Normal"
WARNING = "Warning"

MAX_QUEUED = 1000
TRIES = 12  # tools/record event.go: maxTriesPerEvent, with 10 s between them
RETRY_SECONDS = 10.0
SERIES_SECONDS = 360.0  # tools/events: an event that does not come again for 6 minutes ends its series
MAX_NOTE = 1024


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    last: float
    written: float


class Recorder:
    """One component's events. `host` is the node's name for a kubelet, or empty."""

    def __init__(self, client: Client, clock: Clock, component: str, host: str = "") -> None:
        self._events = client.events
        self._clock = clock
        self._component, self._host = component, host
        self._correlator = Correlator()
        self._series: Recent[_Series] = Recent()
        self._queued: deque[Object] = deque()
        self._tasks = Tasks(f"events/{component}")
        self._writing = False
        self._stamp = 0  # nanoseconds in the last name: two events of one moment need two names

    def event(self, about: Object, type: str, reason: str, message: str, *, action: str = "") -> None:
        """Tell that `reason` happened to `about`, an ObjectReference (`objects.object_reference`)."""
        if len(self._queued) >= MAX_QUEUED:
            return
        now = self._clock.time()
        namespace = about.get("namespace") or "default"
        self._stamp = max(self._stamp + 1, int(now * 1e9))
        event: Object = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": _name(about["name"], self._stamp), "namespace": namespace},
            "involvedObject": about,
            "type": type,
            "reason": reason,
            "message": message,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }
        if action:
            event |= {
                "eventTime": rfc3339_micro(now),
                "action": action,
                "message": message[:MAX_NOTE],
                "reportingInstance": f"{self._component}-{self._host}" if self._host else self._component,
                "source": {},
            }
        else:
            event["source"] = {"component": self._component, **({"host": self._host} if self._host else {})}
            event = stamped(event, now)
        self._queued.append(event)
        if not self._writing:
            self._writing = True
            self._tasks.start("write", self._write())

    async def stop(self) -> None:
        """Stop writing; what is queued is dropped."""
        self._queued.clear()
        await self._tasks.stop()
        self._writing = False

    async def _write(self) -> None:
        try:
            while self._queued:
                event = self._queued.popleft()
                if "eventTime" in event:
                    await self._record_series(event)
                    continue
                decision = self._correlator.decide(event, self._clock.time())
                if decision and await self._send(decision.event, decision.patch):
                    self._correlator.written(decision)
        finally:
            self._writing = False

    async def _record_series(self, event: Object) -> None:
        """tools/events event_broadcaster.go: the second equal event starts a series; later ones are only counted.

        Simplified: a series' count is written when 6 minutes have passed since it was written last, by the next event.
        """
        about = event["involvedObject"]
        key = (event["type"], event["action"], event["reason"], about.get("kind"), about.get("uid"), about["name"])
        now = self._clock.time()
        known = self._series.get(key)
        if known is None or now - known.last > SERIES_SECONDS:
            if await self._send(event, None):
                self._series.put(key, _Series(event["metadata"]["name"], 1, now, now))
            return
        known.count += 1
        known.last = now
        if known.count > 2 and now - known.written < SERIES_SECONDS:
            return
        known.written = now
        series = {"count": known.count, "lastObservedTime": rfc3339_micro(now)}
        metadata = {**event["metadata"], "name": known.name}
        await self._send({**event, "metadata": metadata, "series": series}, {"series": series})

    async def _send(self, event: Object, patch: Object | None) -> bool:
        """Write one event, trying again where the server does not answer; whether it was written."""
        meta = event["metadata"]
        for _ in range(TRIES):
            try:
                if patch is not None:
                    try:
                        await self._events.patch(meta["name"], patch, meta["namespace"], type=STRATEGIC_PATCH)
                        return True
                    except ApiError as error:
                        if not error.is_not_found:  # it expired: write it anew
                            raise
                await self._events.create(event)
                return True
            except ConnectionLost:
                await self._clock.sleep(RETRY_SECONDS)
            except ApiError as error:
                if error.reason not in ("Forbidden", "AlreadyExists", "NotFound"):  # its namespace is ending
                    _log.warning("event refused", reason=event["reason"], about=meta["name"], error=error)
                return False
        return False


def _name(about: str, nanoseconds: int) -> str:
    """`web-0.17f1a2b3c4d5e6f7`: the object's name and the moment in hexadecimal nanoseconds."""
    return f"{about[: 253 - 17]}.{nanoseconds:016x}"
