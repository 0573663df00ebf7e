"""What an exec's process is: the container's own, changed by what was asked for, with docker's rules."""

from __future__ import annotations

import os
from typing import Any

from groundplane.base.jsonyaml import dumps, loads
from groundplane.engine.containers import users
from groundplane.engine.containers.connection import close_all
from groundplane.engine.containers.link import Link
from groundplane.engine.containers.places import Places
from groundplane.engine.containers.record import Record
from groundplane.engine.containers.streams import ExecStreams
from groundplane.engine.containers.supervised import SupervisorLost
from groundplane.engine.contract import BadParameter, ExecSpec
from groundplane.kernel import caps
from groundplane.wire.spawner import Exec

_ATTEMPTS = 3  # a spawner that dies before it reads an order takes it along


async def run(record: Record, spec: ExecSpec, places: Places, link: Link) -> ExecStreams:
    """Start it; returns once its program runs. Raises StartFailed, BadParameter, SupervisorLost."""
    if not spec.argv:
        raise BadParameter("No exec command specified")
    document = _memfd(_document(record, spec, places))
    try:
        for attempt in range(_ATTEMPTS):
            try:
                return await _run(record, spec, places, link, document)
            except SupervisorLost:
                if attempt == _ATTEMPTS - 1:
                    raise
    finally:
        os.close(document)
    raise AssertionError("unreachable")


async def _run(record: Record, spec: ExecSpec, places: Places, link: Link, document: int) -> ExecStreams:
    streams = ExecStreams()
    fds: list[int] = []
    try:
        names, fds = streams.begin(stdin=spec.stdin, stdout=spec.stdout, stderr=spec.stderr, terminal=spec.tty)
        order = Exec(
            id=record.id,
            pid=record.pid,
            ticks=record.ticks,
            cgroup=places.cgroup(record.id, record.spec.cgroup_parent),
            terminal=spec.tty,
            stdio=names,
        )
        await link.order(order, [fds[0], document, *fds[1:]])
        close_all(fds)
        fds = []
        await streams.opened()
    except BaseException:
        await streams.close()
        raise
    finally:
        close_all(fds)
    return streams


def _document(record: Record, spec: ExecSpec, places: Places) -> bytes:
    """{process, seccomp} for the agent."""
    config = loads((places.run_dir(record.id) / "config.json").read_bytes())
    process: dict[str, Any] = config["process"]
    seccomp = config["linux"].get("seccomp")
    process["args"] = list(spec.argv)
    process["terminal"] = spec.tty
    environment = dict(item.split("=", 1) for item in process["env"])
    if spec.tty:
        environment.setdefault("TERM", "xterm")
    if spec.working_dir:
        process["cwd"] = spec.working_dir
    bounding = process["capabilities"]["bounding"]
    if spec.user:
        who = users.resolve(record.rootfs, spec.user, record.spec.security.groups)
        process["user"] = {"uid": who.uid, "gid": who.gid, "additionalGids": list(who.groups)}
        environment["HOME"] = who.home
        sets = {"bounding": bounding}
        process["capabilities"] = sets | ({"effective": bounding, "permitted": bounding} if who.uid == 0 else {})
    if spec.privileged:
        held = caps.names(caps.current()["CapBnd"])
        process["capabilities"] = {"bounding": held, "effective": held, "permitted": held}
        seccomp = None
    environment.update(spec.env)
    process["env"] = [f"{name}={value}" for name, value in environment.items()]
    return dumps({"process": process, "seccomp": seccomp})


def _memfd(data: bytes) -> int:
    """The document as a file in memory: it may be larger than a message."""
    fd = os.memfd_create("exec", os.MFD_CLOEXEC)
    os.write(fd, data)
    return fd
