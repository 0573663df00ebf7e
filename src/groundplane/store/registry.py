"""The drivers by name, and the one way to open a store."""

from __future__ import annotations

from groundplane.base.clock import Clock, SystemClock
from groundplane.base.errors import UsageError
from groundplane.store.contract import Store
from groundplane.store.retention import Retention


async def open_store(url: str, *, keep: Retention | None = None, clock: Clock | None = None) -> Store:
    """A started store: `memory:`, `sqlite:/path/of/the/file` or `etcd://host:port,…/prefix?…`.

    Raises UsageError, StoreError, StoreUnavailable.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        from groundplane.store.drivers.memory import MemoryStore  # late: each driver only where it is used

        keep = keep or Retention()
        return MemoryStore(keep.revisions, clock, size=keep.size)
    if scheme == "sqlite" and rest:
        from groundplane.store.drivers.sqlite.store import SqliteStore

        return await SqliteStore.open(rest, keep=keep or Retention(), clock=clock or SystemClock())
    if scheme == "etcd":
        from groundplane.store.drivers.etcd.store import EtcdStore
        from groundplane.store.drivers.etcd.upkeep import RETENTION
        from groundplane.store.drivers.etcd.url import parse

        return await EtcdStore.open(parse(url), keep=keep or RETENTION, clock=clock or SystemClock())
    raise UsageError(f"store url {url!r}: `memory:`, `sqlite:/path` or `etcd://host:port` expected")
