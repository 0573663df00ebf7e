"""Requests that are done whole: a client that leaves in the middle changes nothing about what it asked for.

aiohttp cancels the handler of a client that has gone. For one that only waits, that is right; a start or a removal
would stop half-way.
"""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

_GRACE = 10.0  # seconds


class _Running:
    """The tasks of one application."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Future[web.StreamResponse]] = set()


_RUNNING = web.AppKey("running", _Running)


def whole(handler: Handler) -> Handler:
    """The same handler, in a task of its own that nobody cancels."""

    async def run(request: web.Request) -> web.StreamResponse:
        task = asyncio.ensure_future(handler(request))
        running = request.app[_RUNNING].tasks
        running.add(task)
        task.add_done_callback(running.discard)
        task.add_done_callback(_look_at)
        return await asyncio.shield(task)

    return run


def prepare_whole(app: web.Application) -> None:
    app[_RUNNING] = _Running()


async def finish_whole(app: web.Application, grace: float = _GRACE) -> None:
    """Wait for those under way, at most `grace` seconds. Called when the door has closed.

    Then they are cancelled: one that only waits (`stop --time 3600`) must not hold up the engine's end, and what the
    engine must not leave half done it does to its end all the same.
    """
    if not (running := set(app[_RUNNING].tasks)):
        return
    _, late = await asyncio.wait(running, timeout=grace)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)


def _look_at(task: asyncio.Future[web.StreamResponse]) -> None:
    """An error that no client is left for is no unhandled one: it was an answer."""
    if not task.cancelled():
        task.exception()
