"""What a store on etcd does by itself: forget history, as one of all servers that share it, and keep its fence.

Compaction is upstream's game (k8s.io/apiserver/pkg/storage/etcd3/compact.go), on upstream's key, so that servers of
both sorts share the work: whoever finds `compact_rev_key` at the version that it saw last writes it, and compacts to
what was the newest revision a turn ago; the others learn the version and are too late until the next turn.
"""

from __future__ import annotations

from base64 import b64encode

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.store.contract import StoreError
from groundplane.store.drivers.etcd import messages
from groundplane.store.drivers.etcd.feed import TXN, Feed
from groundplane.store.drivers.etcd.gateway import PERMISSION, Gateway, Lost, Refused
from groundplane.store.drivers.etcd.writes import Writer
from groundplane.store.retention import Ages, Retention

# What upstream keeps (--etcd-compaction-interval=5m): etcd's database has a quota of 2 GB unless told otherwise.
RETENTION = Retention(seconds=300.0, revisions=0, size=0, interval=300.0)
COMPACTION = "/v3/kv/compaction"
_KEY = b64encode(b"compact_rev_key").decode()
_FENCE_EVERY = 1200.0  # a third of the life of its lease
_log = Log("store.etcd")


class Upkeep:
    """The tasks of one store."""

    def __init__(self, gateway: Gateway, feed: Feed, writer: Writer, keep: Retention, clock: Clock) -> None:
        self._gateway = gateway
        self._feed = feed
        self._writer = writer
        self._keep = keep
        self._clock = clock
        self._turn = 0  # the version of upstream's key when it was last seen
        self._tasks = Tasks("store.etcd")

    def start(self) -> None:
        self._tasks.start("retention", self._retain())
        self._tasks.start("fence", self._keep_fence())

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _retain(self) -> None:
        ages = Ages()
        while True:
            await self._clock.sleep(self._keep.interval)
            if limit := ages.due(self._keep, self._clock.monotonic(), self._feed.view.revision):
                try:
                    if await self._is_our_turn(limit):
                        await compact(self._gateway, limit)
                except (StoreError, Refused) as error:
                    _log.warning("history was not compacted; trying again later", error=str(error))

    async def _is_our_turn(self, limit: int) -> bool:
        question = {
            "compare": [{"key": _KEY, "target": "VERSION", "result": "EQUAL", "version": str(self._turn)}],
            "success": [messages.put(_KEY, b"%d" % limit)],
            "failure": [{"request_range": {"key": _KEY}}],
        }
        try:
            answer = await self._gateway.call(TXN, question, repeat=False)
        except Lost:
            return False
        except Refused as refused:
            if refused.code == PERMISSION:  # etcd lets this user write below its prefix only: it compacts for itself
                return True
            raise
        if answer.get("succeeded"):
            self._turn += 1
            return True
        there = messages.found(answer["responses"][0]["response_range"])
        self._turn = int(there["version"]) if there else 0
        return False

    async def _keep_fence(self) -> None:
        while True:
            await self._clock.sleep(_FENCE_EVERY)
            try:
                await self._writer.keep_fence()
            except StoreError as error:
                _log.debug("the fence's lease was not renewed", error=str(error))


async def compact(gateway: Gateway, revision: int) -> None:
    """Raises Refused, StoreUnavailable."""
    try:
        await gateway.call(COMPACTION, {"revision": str(revision)}, repeat=True)
    except Refused as refused:
        if "has been compacted" not in str(refused):  # by somebody else, or by an attempt whose answer was lost
            raise
