"""When a container's program may be executed from a trampoline: the rules, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.runtime import protect
from groundplane.runtime.verbs.spec import example


def exposed(**changes: Any) -> bool:
    """Of the document that `spec` writes, with members of `process` and `linux` changed, or with hooks."""
    config = example()
    for name, value in changes.items():
        if name == "hooks":
            config["hooks"] = value
        else:
            config["process" if name in ("user", "capabilities", "apparmorProfile") else "linux"][name] = value
    return protect._exposed(config)


def test_the_usual_container_is_not() -> None:
    assert not exposed()


@pytest.mark.parametrize("namespaces", [[], [{"type": "pid", "path": "/proc/1/ns/pid"}], None, [3]])
def test_one_that_shares_processes_is(namespaces: Any) -> None:
    assert exposed(namespaces=namespaces)


def test_one_whose_own_program_is_executed_before_is() -> None:
    assert exposed(hooks={"startContainer": [{"path": "/bin/true"}]})
    assert not exposed(hooks={"createRuntime": [{"path": "/bin/true"}], "poststop": []})


def test_one_with_a_label_for_the_next_execve_is() -> None:
    assert exposed(apparmorProfile="docker-default")


def test_one_whose_user_keeps_capabilities_for_execve_alone_is() -> None:
    assert exposed(user={"uid": 1000, "gid": 0}, capabilities={"effective": ["CAP_DAC_OVERRIDE"]})
    assert not exposed(user={"uid": 1000, "gid": 0}, capabilities={"bounding": ["CAP_DAC_OVERRIDE"]})
    assert not exposed(user={"uid": 0, "gid": 0}, capabilities={"effective": ["CAP_DAC_OVERRIDE"]})


CALLS = ["execve", "execveat", "fcntl", "write", "exit_group"]


@pytest.mark.parametrize(
    "default, rules, expected",
    [
        ("SCMP_ACT_ALLOW", [], False),
        ("SCMP_ACT_ERRNO", [], True),
        ("SCMP_ACT_ERRNO", [{"names": CALLS, "action": "SCMP_ACT_ALLOW"}], False),
        ("SCMP_ACT_ERRNO", [{"names": CALLS[:4], "action": "SCMP_ACT_ALLOW"}], True),
        ("SCMP_ACT_ALLOW", [{"names": ["fcntl"], "action": "SCMP_ACT_LOG"}], True),
        ("SCMP_ACT_ALLOW", [{"names": ["execve"], "action": "SCMP_ACT_NOTIFY"}], False),
        ("SCMP_ACT_ERRNO", [{"names": CALLS, "action": "SCMP_ACT_ALLOW", "args": [{"index": 0}]}], True),
        ("SCMP_ACT_ERRNO", [{"action": "SCMP_ACT_ALLOW"}], True),
    ],
)
def test_one_whose_profile_would_notice_is(default: str, rules: list[dict[str, Any]], expected: bool) -> None:
    assert exposed(seccomp={"defaultAction": default, "syscalls": rules}) is expected
