"""`update`: other limits for a container, from options or from a LinuxResources object.

What is given is merged into what the state remembers, because some limits depend on each other (memory on swap, quota
on period), and the result is remembered for the next time. Devices are left alone, as runc leaves them.
"""

from __future__ import annotations

import re
import sys

from groundplane.base.errors import GroundError
from groundplane.oci.runtime_resources import read_resources
from groundplane.runtime.documents import decode, read_stream, read_text
from groundplane.runtime.resources import limits_of, notices_of
from groundplane.runtime.state import Store, locked
from groundplane.runtime.verbs.showing import groups_for
from groundplane.runtime.wording import cgroup_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.kernel.cgroups.contract import Limits
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals
    from groundplane.runtime.state import Container

# option: where its value goes, and how it is read
_OPTIONS = {
    "blkio-weight": ("blockIO", "weight", "int"),
    "cpu-period": ("cpu", "period", "uint"),
    "cpu-quota": ("cpu", "quota", "int"),
    "cpu-burst": ("cpu", "burst", "uint"),
    "cpu-share": ("cpu", "shares", "uint"),
    "cpu-rt-period": ("cpu", "realtimePeriod", "uint"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", "int"),
    "cpu-idle": ("cpu", "idle", "int"),
    "cpuset-cpus": ("cpu", "cpus", "text"),
    "cpuset-mems": ("cpu", "mems", "text"),
    "memory": ("memory", "limit", "size"),
    "memory-reservation": ("memory", "reservation", "size"),
    "memory-swap": ("memory", "swap", "size"),
    "pids-limit": ("pids", "limit", "int"),
}
# What depends on what was there; the rest is granted only when it is given.
_DEPENDENT = ("cpu", "memory")
_UNITS = ("", "k", "m", "g", "t", "p")


def update(given: Parsed, globals: Globals) -> int:
    store = Store(globals.root)
    with locked(store.directory(given.words[0])):
        container = store.load(given.words[0])
        wanted = _wanted(given, globals)
        _refuse_rdt(given)
        if container.status() in ("creating", "stopped"):
            raise GroundError("container not running")
        linux = container.config.get("linux") or {}
        before = linux.get("resources") or {}
        after = merged(before, wanted)
        for sentence in notices_of(read_resources(wanted)):
            globals.log.warning(sentence)
        _grant(container, before, after, wanted, globals)
        container.config["linux"] = {**linux, "resources": after}
        store.keep(container)
    return 0


def _grant(
    container: Container, before: dict[str, Any], after: dict[str, Any], wanted: dict[str, Any], globals: Globals
) -> None:
    """All of it or, as far as the kernel lets us, nothing. Raises GroundError, in runc's words."""
    groups = groups_for(container, "update")
    limits = _limits(after, wanted)
    try:
        impossible = groups.set(container.cgroup, limits)
        problem: str = impossible[0] if impossible else ""
    except GroundError as error:
        problem = cgroup_words(error)
    if not problem:
        return
    try:
        former = _former(before, wanted, groups.layout)
        groups.set(container.cgroup, _limits(former, former))
    except GroundError as error:
        globals.log.warning(
            f"Setting back cgroup configs failed due to error: {cgroup_words(error)}, "
            "your state.json and actual configs might be inconsistent."
        )
    raise GroundError(problem)


def _former(before: dict[str, Any], wanted: dict[str, Any], layout: str) -> dict[str, Any]:
    """What held before `wanted`: as remembered, and the kernel's defaults for what nobody had set."""
    shares = 2600 if layout == "v2" else 1024  # which becomes v2's 100
    defaults: dict[str, dict[str, int]] = {
        "cpu": {"quota": -1, "period": 100_000, "burst": 0, "idle": 0, "shares": shares},
        "memory": {"limit": -1, "swap": -1, "reservation": -1},
        "pids": {"limit": -1},
    }
    former = dict(before)
    for part, values in defaults.items():
        asked = wanted.get(part) or {}
        remembered = {name: one for name, one in (before.get(part) or {}).items() if one is not None}
        former[part] = {**{name: one for name, one in values.items() if asked.get(name) is not None}, **remembered}
    return former


def _limits(all: dict[str, Any], wanted: dict[str, Any]) -> Limits:
    """Whatever was asked for now, and what that depends on."""
    document = {**wanted, **{key: all[key] for key in _DEPENDENT if all.get(key)}}
    cpu = wanted.get("cpu") or {}
    if document.get("cpu"):  # as runc: an agent may have moved it to other CPUs meanwhile
        document["cpu"] = {**document["cpu"], "cpus": cpu.get("cpus"), "mems": cpu.get("mems")}
    limits = limits_of(read_resources(document))
    limits.devices = None
    return limits


def merged(before: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """What holds once `wanted` is granted: members that are given replace those that were, `null` is not given."""
    after = dict(before)
    for key, value in wanted.items():
        if key == "devices" or value is None:
            continue
        if key in ("memory", "cpu", "blockIO", "pids", "network", "unified", "rdma"):
            changes = {name: one for name, one in value.items() if one is not None}
            after[key] = {**(after.get(key) or {}), **changes}
        else:
            after[key] = value
    memory = wanted.get("memory") or {}
    if memory.get("limit") == -1 and memory.get("swap") is None:
        after["memory"]["swap"] = -1  # no limit for memory is none for both, as on version 1
    return after


def _wanted(given: Parsed, globals: Globals) -> dict[str, Any]:
    """A LinuxResources object of the options, or of the file that `--resources` names. Raises GroundError."""
    if source := given.value("resources"):
        document = decode(_read(source), source)
        if not isinstance(document, dict):
            raise GroundError(f"{source}: an object is expected")
        read_resources(document)
        return {key: value for key, value in document.items() if key != "devices"}
    wanted: dict[str, Any] = {}
    for option, (part, name, kind) in _OPTIONS.items():
        text = given.value(option)
        if text and not (option in ("blkio-weight", "pids-limit") and given.number(option) == 0):  # not given (runc)
            wanted.setdefault(part, {})[name] = _value(option, kind, text)
    for option in ("kernel-memory", "kernel-memory-tcp"):
        if given.value(option):
            globals.log.warning(f"Setting --{option} is ignored and will be removed")
    return wanted


def _read(source: str) -> str:
    if source == "-":
        return read_stream(sys.stdin.buffer, "standard input")
    try:
        return read_text(source)
    except OSError as error:
        raise GroundError(f"open {source}: {(error.strerror or '').lower()}") from error


def _value(option: str, kind: str, text: str) -> int | str:
    """An option's value; errors as Go's strconv and Docker's units word them. Raises GroundError."""
    if kind == "text":
        return text
    if kind == "size":
        size = size_of(text)
        if size is None:
            raise GroundError(f"invalid value for {option}: invalid size: '{text}'")
        return size
    digits = text[1:] if kind == "int" and text[:1] in ("+", "-") else text
    problem = "" if digits.isascii() and digits.isdigit() else "invalid syntax"
    low, high = (-(2**63), 2**63) if kind == "int" else (0, 2**64)
    if not problem and (len(digits) > 20 or not low <= int(text) < high):
        problem = "value out of range"
    if problem:
        parser = "ParseInt" if kind == "int" else "ParseUint"
        raise GroundError(f'invalid value for {option}: strconv.{parser}: parsing "{text}": {problem}')
    return int(text)


def size_of(text: str) -> int | None:
    """`64m`, `1.5G`, `100 kB`, `-1` in bytes, in powers of 1024 as Docker reads memory; None for what is no size."""
    if text == "-1":
        return -1
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?) ?([kmgtp]?)i?b?", text, re.IGNORECASE)
    size = int(float(found[1]) * 1024 ** _UNITS.index(found[2].lower())) if found else None
    return size if size is not None and size < 2**63 else None


def _refuse_rdt(given: Parsed) -> None:
    if given.value("l3-cache-schema"):
        raise GroundError("Intel RDT/CAT: l3 cache schema is not enabled")
    if given.value("mem-bw-schema"):
        raise GroundError("Intel RDT/MBA: memory bandwidth schema is not enabled")
