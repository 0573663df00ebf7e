"""Containers' life: create, list, inspect, start, stop, restart, kill, wait, remove, update."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import cast

from aiohttp import web

from groundplane.base.jsonyaml import dumps
from groundplane.dockerapi.create import Reader, container_spec, make_sources, updated
from groundplane.dockerapi.door import Door, door, json_answer, no_content
from groundplane.dockerapi.errors import answer
from groundplane.dockerapi.query import Filters, filters, flag, json_body, labels_match, number
from groundplane.dockerapi.shapes import exit_code, inspect_container, list_entry, network_mode
from groundplane.engine.contract import BadParameter, ContainerInfo, EngineError, EngineEvent, State

_LIST_FILTERS = frozenset(
    {"id", "name", "label", "status", "ancestor", "exited", "before", "since", "network", "health", "is-task"}
)
_CANNOT_START = ("executable file not found", "no such file or directory", "permission denied", "is a directory")


async def create(request: web.Request) -> web.Response:
    here = door(request)
    body = await json_body(request)
    spec = container_spec(request.query.get("name", ""), body)
    # A container has its image's labels too: listings and events are filtered by them (moby: daemon.mergeAndVerify)
    settings = here.engine.images.resolve(spec.image).config.get("config") or {}
    make_sources(body)
    id = await here.engine.containers.create(replace(spec, labels={**(settings.get("Labels") or {}), **spec.labels}))
    return json_answer({"Id": id, "Warnings": []}, status=201)


async def list_containers(request: web.Request) -> web.Response:
    here = door(request)
    wanted = filters(request, _LIST_FILTERS)
    limit = number(request, "limit", 0) or 0
    # Docker: a filter on the state, or a limit, looks at all containers
    everything = flag(request, "all") or limit > 0 or "status" in wanted or "exited" in wanted
    newest_first = sorted(here.engine.containers.list(), key=lambda c: c.created_at, reverse=True)
    found = [c for c in newest_first if (everything or c.state is State.RUNNING) and _wanted(here, c, wanted)]
    entries = [list_entry(c, _image_shown(here, c), here.clock) for c in (found[:limit] if limit > 0 else found)]
    if flag(request, "size"):
        for entry in entries:
            entry |= await _sizes(here, entry["Id"], entry["ImageID"])
    return json_answer(entries)


async def _sizes(here: Door, id: str, image_id: str) -> dict[str, int]:
    written = await here.engine.container_size(id)
    image = here.image_of(image_id)
    return {"SizeRw": written, "SizeRootFs": written + (image.size if image else 0)}


def _image_shown(here: Door, info: ContainerInfo) -> str:
    """The name it was created by, or the id where that name means another image now."""
    image = here.image_of(info.image_id)
    try:
        same = here.engine.images.resolve(info.spec.image).id == info.image_id
    except EngineError:
        same = False
    return info.spec.image if same or image is None else info.image_id


def _wanted(here: Door, info: ContainerInfo, wanted: Filters) -> bool:
    checks: dict[str, Callable[[str], bool]] = {
        "id": info.id.startswith,
        # With and without the slash, so that both `^web$` and `^/web$` find it (moby: daemon/list.go)
        "name": lambda text: any(re.search(text, name) for name in (info.spec.name, f"/{info.spec.name}")),
        "status": lambda text: info.state.value == text,
        "exited": lambda text: info.state is State.EXITED and text == str(exit_code(info)),
        "ancestor": lambda text: _descends(here, info, text),
        "network": lambda text: network_mode(info) == text,
        "health": lambda text: text == "none",
        "is-task": lambda text: text in ("false", "0"),
        "before": lambda text: info.created_at < here.engine.containers.get(text).created_at,
        "since": lambda text: info.created_at > here.engine.containers.get(text).created_at,
    }
    try:
        return labels_match(info.spec.labels, wanted.get("label", [])) and all(
            any(checks[name](text) for text in texts) for name, texts in wanted.items() if name != "label"
        )
    except re.error as error:
        raise BadParameter(f"invalid filter 'name': {error}") from error


def _descends(here: Door, info: ContainerInfo, image: str) -> bool:
    try:
        return here.engine.images.resolve(image).id == info.image_id
    except EngineError:
        return False


async def inspect(request: web.Request) -> web.Response:
    here = door(request)
    info = _get(request)
    document = inspect_container(info, here.image_of(info.image_id))
    if flag(request, "size"):
        document |= await _sizes(here, info.id, info.image_id)
    return json_answer(document)


def _get(request: web.Request) -> ContainerInfo:
    return door(request).engine.containers.get(request.match_info["id"])


async def start(request: web.Request) -> web.Response:
    """204; 304 where it runs already; 400 where its program cannot be executed, as Docker answers."""
    info = _get(request)
    if info.state is State.RUNNING:
        return no_content(304)
    try:
        await door(request).engine.containers.start(info.id)
    except EngineError as error:
        if any(words in str(error) for words in _CANNOT_START):
            return answer(400, str(error))
        raise
    return no_content()


async def stop(request: web.Request) -> web.Response:
    info = _get(request)
    if info.state is not State.RUNNING:
        return no_content(304)
    await door(request).engine.containers.stop(info.id, number(request, "t"), request.query.get("signal", ""))
    return no_content()


async def restart(request: web.Request) -> web.Response:
    info = _get(request)
    await door(request).engine.containers.restart(info.id, number(request, "t"), request.query.get("signal", ""))
    return no_content()


async def kill(request: web.Request) -> web.Response:
    info = _get(request)
    await door(request).engine.containers.kill(info.id, request.query.get("signal") or "SIGKILL")
    return no_content()


async def remove(request: web.Request) -> web.Response:
    info = _get(request)
    await door(request).engine.containers.remove(info.id, force=flag(request, "force"))
    return no_content()


async def wait(request: web.Request) -> web.StreamResponse:
    """The exit code once the condition holds. The head is sent at once: it tells the client that we watch."""
    here = door(request)
    info = _get(request)
    condition = request.query.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise BadParameter(f'invalid condition: "{condition}"')
    waits = condition != "not-running" or info.state is State.RUNNING
    events = here.engine.events() if waits else None  # before the head: from here on no event is missed
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    code = exit_code(info) if events is None else await _next_end(events, info.id, removed=condition == "removed")
    await response.write(dumps({"StatusCode": code}) + b"\n")
    return response


async def _next_end(events: AsyncIterator[EngineEvent], id: str, *, removed: bool) -> int:
    """The code of the container's next end; with `removed`, once it has gone."""
    code = 0
    async with aclosing(cast(AsyncGenerator[EngineEvent], events)):
        async for event in events:
            if event.id != id:
                continue
            if event.action == "die":
                code = 255 if event.exit_code is None else event.exit_code
                if not removed:
                    return code
            if event.action == "destroy":
                return code
    return code


async def update(request: web.Request) -> web.Response:
    info = _get(request)
    wanted = updated(info.spec.resources, Reader(await json_body(request)))
    await door(request).engine.containers.update(info.id, wanted)
    return json_answer({"Warnings": None})
