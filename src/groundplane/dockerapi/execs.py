"""Exec: an instance is made, started once over a connection that is taken over, and asked for its exit code."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from groundplane.base.ids import hex_id
from groundplane.dockerapi.attach import size
from groundplane.dockerapi.create import Reader
from groundplane.dockerapi.door import Door, Exec, door, json_answer, no_content
from groundplane.dockerapi.hijack import after_hijack, hijacked
from groundplane.dockerapi.query import json_body
from groundplane.dockerapi.streaming import Wanted, copy
from groundplane.engine.contract import BadParameter, Conflicting, EngineError, ExecSpec, NoSuchContainer, State
from groundplane.wire.dockerstream import STDERR

_KEPT = 1000  # instances that do not run: not started yet, or ended and their code can still be asked for


async def create(request: web.Request) -> web.Response:
    here = door(request)
    info = here.engine.containers.get(request.match_info["id"])
    read = Reader(await json_body(request))
    argv = read.document.get("Cmd")
    words = [argv] if isinstance(argv, str) else read.texts("Cmd")
    if not words:
        raise BadParameter("No exec command specified")
    if info.state is not State.RUNNING:
        raise Conflicting(f"container {info.id} is not running")
    spec = ExecSpec(
        argv=words,
        env=dict(item.partition("=")[::2] for item in read.texts("Env")),
        user=read.text("User"),
        working_dir=read.text("WorkingDir"),
        tty=read.flag("Tty"),
        stdin=read.flag("AttachStdin"),
        stdout=read.flag("AttachStdout"),
        stderr=read.flag("AttachStderr"),
        privileged=read.flag("Privileged"),
    )
    made = Exec(hex_id(), info.id, spec, open_stdin=read.flag("AttachStdin"))
    _forget_old(here)
    here.execs[made.id] = made
    return json_answer({"Id": made.id}, status=201)


def _forget_old(here: Door) -> None:
    idle = [id for id, known in here.execs.items() if known.exit_code is not None or not known.started]
    for id in idle[: max(0, len(idle) - _KEPT)]:
        del here.execs[id]


def _find(request: web.Request) -> tuple[Door, Exec]:
    here = door(request)
    found = here.execs.get(request.match_info["id"])
    if found is None:
        raise NoSuchContainer(f"No such exec instance: {request.match_info['id']}")
    return here, found


async def start(request: web.Request) -> web.StreamResponse:
    here, found = _find(request)
    read = Reader(await json_body(request))
    if found.started:
        raise Conflicting(f"Error: Exec command {found.id} has already run")
    if here.engine.containers.get(found.container).state is not State.RUNNING:
        raise Conflicting(f"container {found.container} is not running")
    found.started = True
    if read.flag("Detach"):
        # To its end, also where the client leaves in the middle: a started process must have a reader.
        await asyncio.shield(asyncio.ensure_future(_detached(here, found)))
        return no_content(200)
    return await _attached(request, here, found)


async def _detached(here: Door, found: Exec) -> None:
    await _begin(here, found)
    here.tasks.start(f"exec-{found.id[:12]}", _drain(found))


async def _attached(request: web.Request, here: Door, found: Exec) -> web.StreamResponse:
    spec = found.spec
    wanted = Wanted(stdin=spec.stdin, stdout=spec.stdout, stderr=spec.stderr, tty=spec.tty)
    with hijacked(request, wanted.content_type) as taken:
        try:
            streams = await _begin(here, found)
        except EngineError as error:
            # Docker has answered the head by now, so the reason goes where the output would
            await taken.write(wanted.encode(STDERR, f"{error}\r\n".encode()))
            return after_hijack()
        try:
            if not await copy(streams, taken, wanted, close_stdin=True):
                # The client has gone: docker leaves the process running, and so its end is still recorded.
                here.tasks.start(f"exec-{found.id[:12]}", _drain(found))
                return after_hijack()
            found.exit_code = await streams.wait()
        finally:
            if found.exit_code is not None:
                await streams.close()
    return after_hijack()


async def _begin(here: Door, found: Exec) -> Any:
    """Start the process. Where it cannot be, its code is what a shell gives, and the reason is raised."""
    try:
        found.streams = await here.engine.containers.exec(found.container, found.spec)
    except EngineError as error:
        words = str(error)
        missing = "executable file not found" in words or "no such file or directory" in words
        found.exit_code = 127 if missing else 126
        raise
    return found.streams


async def _drain(found: Exec) -> None:
    """Nobody reads a detached exec's output; it must not block for that."""
    streams = found.streams
    assert streams is not None  # started by the caller
    try:
        while await streams.read() is not None:
            pass
        found.exit_code = await streams.wait()
    finally:
        await streams.close()


async def inspect(request: web.Request) -> web.Response:
    _, found = _find(request)
    spec = found.spec
    return json_answer(
        {
            "ID": found.id,
            "Running": found.started and found.exit_code is None,
            "ExitCode": found.exit_code,
            "ProcessConfig": {
                "tty": spec.tty,
                "entrypoint": spec.argv[0],
                "arguments": list(spec.argv[1:]),
                "privileged": spec.privileged,
                "user": spec.user,
            },
            "OpenStdin": found.open_stdin,
            "OpenStderr": spec.stderr,
            "OpenStdout": spec.stdout,
            "CanRemove": found.exit_code is not None,
            "ContainerID": found.container,
            "DetachKeys": "",
            "Pid": 0,
        }
    )


async def resize(request: web.Request) -> web.Response:
    _, found = _find(request)
    rows, columns = size(request)
    if found.streams is not None and found.exit_code is None:
        await found.streams.resize(rows, columns)
    return no_content(200)
