"""The care of a store: `ground store …`, on the platform's store while it runs, and on any store that nobody has open.

What can be done meanwhile (status, backup, compact, check) a running platform does itself, asked over the engine's
socket; the rest opens the store here, and whoever has it open already is named by its lock.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from groundplane.base.errors import GroundError, UsageError
from groundplane.base.jsonyaml import DecodeError, dumps, loads
from groundplane.base.settings import Settings
from groundplane.store.contract import AlreadyThere, FutureRevision, Store, StoreError

if TYPE_CHECKING:
    from groundplane.daemon.platform import Platform

T = TypeVar("T")


def own_url(settings: Settings) -> str:
    """The store of this instance's control plane."""
    return settings.store or f"sqlite:{settings.root}/store/cluster.db"


def store_routes(platform: Platform) -> list[web.RouteDef]:
    """GET /ground/store · POST /ground/store/{backup,compact,check}."""

    def route(work: Callable[[Store, dict[str, Any]], Awaitable[object]]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            store = platform.control_plane.store if platform.control_plane is not None else None
            if store is None:
                return _answer(404, {"message": "no control plane runs here"})
            try:
                body = await request.read()
                return _answer(200, await work(store, loads(body) if body else {}))
            except (DecodeError, KeyError, TypeError) as error:
                return _answer(400, {"message": f"store: {error}"})
            except GroundError as error:
                code = 400 if isinstance(error, FutureRevision | UsageError) else 500
                return _answer(code, {"message": str(error)})

        return handle

    return [
        web.get("/ground/store", route(lambda store, _: describe(store))),
        web.post("/ground/store/backup", route(lambda store, body: backup(store, body["path"]))),
        web.post("/ground/store/compact", route(lambda store, body: compact(store, body.get("revision") or 0))),
        web.post("/ground/store/check", route(lambda store, _: check(store))),
    ]


async def describe(store: Store) -> dict[str, Any]:
    found = await store.status()
    return {
        "driver": found.driver,
        "revision": found.revision,
        "oldest": found.oldest,
        "keys": found.keys,
        "size": found.size,
        "alarms": list(found.alarms),
    }


async def backup(store: Store, path: str) -> dict[str, Any]:
    revision = await store.backup(path)
    return {"path": path, "revision": revision, "size": os.stat(path).st_size}


async def compact(store: Store, revision: int) -> dict[str, Any]:
    """Up to `revision`, 0 for the newest."""
    await store.compact(revision or await store.sync())
    return await describe(store)


async def check(store: Store) -> dict[str, Any]:
    found = await store.check()
    return {**await describe(store), "problems": list(found)}


async def refuse_unfinished(store: Store) -> None:
    """Raises StoreError where a restore was killed half-way, which only stores of other servers can show."""
    from groundplane.store import moves  # late: only who starts an API server needs it

    if await moves.unfinished(store):
        raise StoreError("the store holds half of a restore that was killed: run `ground store restore` again")


def on_stopped(url: str, work: Callable[[Store], Awaitable[T]]) -> T:
    """Open the store at `url`, do `work`, close it. Raises StoreError, StoreUnavailable."""

    async def main() -> T:
        from groundplane.store.registry import open_store  # late: only who cares for a store needs it

        store = await open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    _must_exist(url)
    return asyncio.run(main())


def check_stopped(url: str) -> list[str]:
    """What is wrong with a store that nobody has open; a store that cannot even be opened is told about too."""
    _must_exist(url)
    try:
        return list(on_stopped(url, lambda store: store.check()))
    except StoreError as error:
        return [str(error)]


def restore(backup_file: str, url: str, *, aside: bool) -> dict[str, Any]:
    from groundplane.store import moves  # late: as above

    if not os.path.isfile(backup_file):
        raise UsageError(f"there is no backup {backup_file}; give the file that `ground store backup` made")
    _must_last(url)
    try:
        moved = asyncio.run(moves.restore(backup_file, url, aside=aside))
    except AlreadyThere as there:
        raise GroundError(f"{there}; with --replace it is, and kept beside the new one") from there
    return {"keys": moved.keys, "revision": moved.revision, "kept": moved.kept, "behind": moved.behind}


def migrate(source: str, target: str) -> dict[str, Any]:
    from groundplane.store import moves  # late: as above

    _must_exist(source)
    _must_last(target)
    try:
        moved = asyncio.run(moves.migrate(source, target))
    except AlreadyThere as there:
        raise GroundError(f"{there}; name a new place") from there
    return {"keys": moved.keys, "revision": moved.revision, "behind": moved.behind}


def _must_exist(url: str) -> None:
    _must_last(url)
    path = url.removeprefix("sqlite:")
    if path not in ("", url) and not os.path.exists(path) and not os.path.exists(path + ".restored"):
        raise UsageError(f"there is no store at {path}; `ground up` makes a platform's own, --store names another one")


def _must_last(url: str) -> None:
    if url.startswith("memory:"):
        raise UsageError("a store in memory is its process's alone: name sqlite:/path or etcd://host:port")


def _answer(code: int, document: object) -> web.Response:
    return web.Response(status=code, body=dumps(document), content_type="application/json")
