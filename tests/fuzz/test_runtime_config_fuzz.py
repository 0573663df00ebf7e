"""config.json from anywhere: it is read and planned, or refused with a documented error, and nothing else happens."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundplane.base.errors import GroundError
from groundplane.oci.runtime import read_config, read_process
from groundplane.runtime.documents import decode
from groundplane.runtime.plan import Host, plan_container, plan_exec
from groundplane.runtime.resources import limits_of
from groundplane.runtime.seccomp import compiled
from groundplane.runtime.validate import validate, validate_process
from groundplane.runtime.verbs.spec import example

HOST = Host(permitted=(1 << 41) - 1, last_capability=40)
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False), st.text(max_size=8)
)
_json = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)


def full() -> dict[str, Any]:
    """A document with nearly every member, so that changing any place of it means something."""
    config = example()
    config["process"] |= {
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]},
        "oomScoreAdj": 5,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "execCPUAffinity": {"initial": "0-3,7", "final": "1"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 3},
        "consoleSize": {"height": 1, "width": 2},
    }
    config["hooks"] = {"prestart": [{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 3}]}
    config["annotations"] = {"a": "b"}
    _fill_linux(config)
    return config


def _fill_linux(config: dict[str, Any]) -> None:
    config["linux"] |= {
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 2, "fileMode": 438, "uid": 0, "gid": 0}],
        "rootfsPropagation": "rslave",
        "personality": {"domain": "LINUX", "flags": []},
        "netDevices": {"eth1": {"name": "eth0"}},
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
        "timeOffsets": {"boottime": {"secs": 1, "nanosecs": 2}},
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent",
            "listenerMetadata": "data",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {
                    "names": ["read", "clone"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                },
                {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"},
            ],
        },
    }
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "time"}]
    mapping = {"containerID": 0, "hostID": 5, "size": 1}
    config["mounts"] += [
        {
            "destination": "/mapped",
            "source": "/etc",
            "options": ["rbind", "ridmap", "rro", "rslave"],
            "uidMappings": [mapping],
            "gidMappings": [mapping],
        },
        {"destination": "/mapped", "type": "none", "options": ["bind", "remount", "nosuid"]},
        {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m", "sync"]},
    ]
    config["linux"]["resources"] |= {
        "memory": {"limit": 1, "swap": 2, "reservation": 3, "swappiness": 4},
        "cpu": {"shares": 2, "quota": 2, "period": 3, "cpus": "0", "mems": "0"},
        "pids": {"limit": 5},
        "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "unified": {"memory.high": "1"},
    }


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


FULL = full()
PLACES = places(FULL)


def consume(document: Any) -> None:
    """All that `create` does with a document before it makes anything."""
    config = read_config(document)
    validate(config)
    compiled((document.get("linux") or {}).get("seccomp"))
    limits_of(config.linux.resources)
    plan_container(config, HOST, id="c", bundle="/b", root="/r", views=(), console=True)


def changed(original: Any, changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    document = copy.deepcopy(original)
    for path, value in changes:
        target: Any = document
        try:
            for key in path[:-1]:
                target = target[key]
            target[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken the place away
    return document


def test_the_unchanged_document_is_fine() -> None:
    consume(copy.deepcopy(FULL))


@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PLACES), _json), min_size=1, max_size=3))
def test_a_document_with_anything_in_any_place(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = changed(FULL, changes)
    try:
        consume(document)
    except GroundError as error:
        assert "\n" not in str(error)


PROCESS_PLACES = places(FULL["process"])


@settings(max_examples=300, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(PROCESS_PLACES), _json), min_size=1, max_size=3))
def test_a_process_of_exec_with_anything_in_any_place(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = changed(FULL["process"], changes)
    try:
        process = read_process(document)
        validate_process(process)
        plan_exec(process, HOST, descriptors=[3], flags=0, console=True)
    except GroundError as error:
        assert "\n" not in str(error)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsn \\u\x00é\n', max_size=40))
def test_the_reader_of_json_agrees_with_the_librarys(text: str) -> None:
    try:
        expected: Any = json.loads(text, parse_constant=lambda name: json.loads("refused"))
    except ValueError:
        expected = ValueError
    try:
        assert decode(text, "x") == expected
    except GroundError:
        assert expected is ValueError
