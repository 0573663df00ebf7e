"""The engine itself: ping, version, info, events, and the networks and volumes that it has none of."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

import groundplane
from groundplane.base.jsonyaml import dumps
from groundplane.dockerapi.door import Door, door, json_answer
from groundplane.dockerapi.errors import API_VERSION, MIN_API_VERSION, answer
from groundplane.dockerapi.query import Filters, filters, labels_match, stamp
from groundplane.dockerapi.stamps import time_text
from groundplane.engine.contract import ContainerInfo, EngineEvent, NoSuchContainer, State

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_NETWORKS = {"host": "host", "none": "null"}
_EVENT_FILTERS = frozenset({"container", "event", "image", "label", "type", "scope", "daemon"})


async def ping(request: web.Request) -> web.Response:
    headers = {
        "Api-Version": API_VERSION,
        "Builder-Version": "1",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Pragma": "no-cache",
        "Swarm": "inactive",
    }
    return web.Response(text="" if request.method == "HEAD" else "OK", headers=headers, content_type="text/plain")


async def version(request: web.Request) -> web.Response:
    host = os.uname()
    details = {
        "ApiVersion": API_VERSION,
        "Arch": _ARCHITECTURES.get(host.machine, host.machine),
        "KernelVersion": host.release,
        "MinAPIVersion": MIN_API_VERSION,
        "Os": "linux",
    }
    component = {"Name": "Engine", "Version": groundplane.__version__, "Details": details}
    return json_answer(
        {
            "Platform": {"Name": "Groundplane"},
            "Components": [component],
            "Version": groundplane.__version__,
            "GitCommit": "",
            "GoVersion": "",
            "BuildTime": "",
            **details,
        }
    )


async def info(request: web.Request) -> web.Response:
    here = door(request)
    containers = here.engine.containers.list()
    running = sum(c.state is State.RUNNING for c in containers)
    host = os.uname()
    return json_answer(
        {
            "ID": hashlib.sha256(os.path.realpath(here.settings.root).encode()).hexdigest()[:32],
            "Containers": len(containers),
            "ContainersRunning": running,
            "ContainersPaused": 0,
            "ContainersStopped": len(containers) - running,
            "Images": len(here.engine.images.list()),
            "Driver": "overlay2",
            "DriverStatus": None,
            "Plugins": {"Volume": [], "Network": ["host", "none"], "Authorization": None, "Log": ["json-file"]},
            **dict.fromkeys(("MemoryLimit", "CpuCfsPeriod", "CpuCfsQuota", "CPUShares", "CPUSet", "PidsLimit"), True),
            "SwapLimit": False,
            "IPv4Forwarding": _forwarding(),
            "Debug": False,
            "OomKillDisable": False,
            "SystemTime": time_text(time.time_ns()),
            "LoggingDriver": "json-file",
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "1",
            "KernelVersion": host.release,
            "OperatingSystem": _operating_system(),
            "OSType": "linux",
            "Architecture": host.machine,
            "NCPU": os.cpu_count() or 1,
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "DockerRootDir": here.settings.root,
            "Name": host.nodename,
            "Labels": [],
            "ExperimentalBuild": False,
            "ServerVersion": groundplane.__version__,
            "Runtimes": {"ground-runtime": {"path": "ground-runtime"}},
            "DefaultRuntime": "ground-runtime",
            "Swarm": {"LocalNodeState": "inactive"},
            "LiveRestoreEnabled": True,
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "Warnings": None,
        }
    )


def _forwarding() -> bool:
    with open("/proc/sys/net/ipv4/ip_forward", encoding="ascii") as f:
        return f.read().strip() == "1"


def _operating_system() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8") as f:
            pairs = (line.rstrip("\n").partition("=")[::2] for line in f)
            return dict(pairs).get("PRETTY_NAME", "Linux").strip('"')
    except OSError:
        return "Linux"


async def networks(request: web.Request) -> web.Response:
    return json_answer([_network(name) for name in _NETWORKS])


async def network(request: web.Request) -> web.Response:
    name = request.match_info["id"]
    if name not in _NETWORKS:
        return answer(404, f"network {name} not found")
    return json_answer(_network(name))


def _network(name: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"Scope": "local", "Internal": False, "Containers": {}, "Options": {}, "Labels": {}}
    return {"Name": name, "Id": name, "Driver": _NETWORKS[name], **empty}


async def volume(request: web.Request) -> web.Response:
    return answer(404, f"get {request.match_info['name']}: no such volume")


async def plugin(request: web.Request) -> web.Response:
    return answer(404, f'plugin "{request.match_info["name"]}" not found')


async def volumes(request: web.Request) -> web.Response:
    return json_answer({"Volumes": [], "Warnings": None})


async def events(request: web.Request) -> web.StreamResponse:
    """Lines of JSON until `until` or until the client leaves. What happened before the request is not kept."""
    here = door(request)
    wanted = filters(request, _EVENT_FILTERS)
    until = stamp(request, "until")
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    stream = here.engine.events()
    known = {c.id: _facts(c) for c in here.engine.containers.list(hidden=True)}  # `destroy` comes when it has gone
    await response.prepare(request)
    if until and until <= here.clock.time() * 1e9:
        return response
    async for event in _until(here, stream, until):
        document = _event(here, event, known)
        if event.action == "destroy":
            known.pop(event.id, None)
        if _event_wanted(document, event, wanted):
            await response.write(dumps(document) + b"\n")
    return response


async def _until(here: Door, stream: AsyncIterator[EngineEvent], until: int) -> AsyncIterator[EngineEvent]:
    """The events up to a time (0: for ever); it ends at that time, not with the next event after it."""
    over = asyncio.ensure_future(here.clock.sleep(until / 1e9 - here.clock.time())) if until else None
    try:
        while True:
            event = asyncio.ensure_future(anext(stream))
            try:
                await asyncio.wait({event} if over is None else {event, over}, return_when=asyncio.FIRST_COMPLETED)
                if not event.done():
                    return
                yield event.result()
            finally:
                event.cancel()
    finally:
        if over is not None:
            over.cancel()


def _facts(info: ContainerInfo) -> dict[str, str]:
    return {"image": info.spec.image, "name": info.spec.name}


def _event(here: Door, event: EngineEvent, known: dict[str, dict[str, str]]) -> dict[str, Any]:
    try:
        known[event.id] = _facts(here.engine.containers.get(event.id))
    except NoSuchContainer:
        pass
    attributes = {**event.labels, **known.get(event.id, {})}
    if event.exit_code is not None:
        attributes["exitCode"] = str(event.exit_code)
    return {
        "status": event.action,
        "id": event.id,
        "from": attributes.get("image", ""),
        "Type": "container",
        "Action": event.action,
        "Actor": {"ID": event.id, "Attributes": attributes},
        "scope": "local",
        "time": event.at // 1_000_000_000,
        "timeNano": event.at,
    }


def _event_wanted(document: dict[str, Any], event: EngineEvent, wanted: Filters) -> bool:
    attributes = document["Actor"]["Attributes"]
    names = (event.id, event.id[:12], attributes.get("name", ""))
    return (
        ("type" not in wanted or "container" in wanted["type"])
        and ("event" not in wanted or event.action in wanted["event"])
        and ("container" not in wanted or any(name in wanted["container"] for name in names))
        and ("image" not in wanted or attributes.get("image") in wanted["image"])
        and labels_match(event.labels, wanted.get("label", []))
    )
