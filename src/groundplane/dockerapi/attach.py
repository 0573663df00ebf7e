"""A container's output and input: attach, resize, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from groundplane.base.clock import rfc3339_nano
from groundplane.dockerapi.door import Door, door, no_content
from groundplane.dockerapi.hijack import after_hijack, hijacked
from groundplane.dockerapi.query import flag, number, stamp
from groundplane.dockerapi.streaming import MULTIPLEXED, RAW, Wanted, copy
from groundplane.engine.contract import BadParameter, Conflicting, ContainerInfo, LogLine, State
from groundplane.wire.dockerstream import STDERR, STDOUT


async def attach(request: web.Request) -> web.StreamResponse:
    """Also before the start: what the container then writes is not missed."""
    here = door(request)
    info = here.engine.containers.get(request.match_info["id"])
    wanted = Wanted(
        stdin=flag(request, "stdin") and info.spec.stdin_open,
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr"),
        tty=info.spec.tty,
    )
    if not flag(request, "stream"):
        return await _replay(request, here, info, wanted)
    streams = await here.engine.containers.attach(info.id)
    try:
        with hijacked(request, wanted.content_type) as taken:
            if flag(request, "logs"):
                now = int(here.clock.time() * 1e9)
                async for line in here.engine.containers.logs(info.id, until=now):
                    await taken.write(wanted.encode(_number(line), line.data))
            # docker run -i asks for StdinOnce: the client's end of input is the container's
            once = bool(info.spec.docker.get("StdinOnce"))
            await copy(streams, taken, wanted, close_stdin=once)
    finally:
        await streams.close()  # detaches
    return after_hijack()


async def _replay(request: web.Request, here: Door, info: ContainerInfo, wanted: Wanted) -> web.StreamResponse:
    """`stream=0&logs=1`: what was written so far, and the end."""
    with hijacked(request, wanted.content_type) as taken:
        async for line in here.engine.containers.logs(info.id):
            await taken.write(wanted.encode(_number(line), line.data))
    return after_hijack()


def _number(line: LogLine) -> int:
    return STDERR if line.stream == "stderr" else STDOUT


async def resize(request: web.Request) -> web.Response:
    here = door(request)
    info = here.engine.containers.get(request.match_info["id"])
    rows, columns = size(request)
    if info.state is not State.RUNNING:
        raise Conflicting(f"container {info.id} is not running")
    streams = await here.engine.containers.attach(info.id)
    try:
        await streams.resize(rows, columns)
    finally:
        await streams.close()
    return no_content(200)


def size(request: web.Request) -> tuple[int, int]:
    rows, columns = number(request, "h", 0) or 0, number(request, "w", 0) or 0
    if not (0 <= rows < 1 << 16 and 0 <= columns < 1 << 16):
        raise BadParameter("invalid resize height or width: a number below 65536 expected")
    return rows, columns


async def logs(request: web.Request) -> web.StreamResponse:
    here = door(request)
    info = here.engine.containers.get(request.match_info["id"])
    wanted = Wanted(stdin=False, stdout=flag(request, "stdout"), stderr=flag(request, "stderr"), tty=False)
    if not flag(request, "stdout") and not flag(request, "stderr"):
        raise BadParameter("Bad parameters: you must choose at least one stream")
    lines = here.engine.containers.logs(
        info.id,
        follow=flag(request, "follow"),
        tail=_tail(request),
        since=stamp(request, "since"),
        until=stamp(request, "until"),
    )
    response = web.StreamResponse(headers={"Content-Type": RAW if info.spec.tty else MULTIPLEXED})
    await response.prepare(request)
    await _write_lines(response, lines, wanted, tty=info.spec.tty, stamps=flag(request, "timestamps"))
    return response


async def _write_lines(
    response: web.StreamResponse, lines: AsyncIterator[LogLine], wanted: Wanted, *, tty: bool, stamps: bool
) -> None:
    async for line in lines:
        data = f"{rfc3339_nano(line.at)} ".encode() + line.data if stamps else line.data
        framed = wanted.encode(_number(line), data)
        if framed:
            await response.write(data if tty else framed)


def _tail(request: web.Request) -> int | None:
    text = request.query.get("tail", "all")
    if text in ("", "all"):
        return None
    count = number(request, "tail")
    return None if count is None or count < 0 else count
