"""From Docker's ways to ask for a system call filter to OCI's `linux.seccomp`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from groundplane.base.jsonyaml import DecodeError, loads
from groundplane.engine.containers import seccomp_profile as data
from groundplane.engine.contract import BadParameter

_ALLOW = "SCMP_ACT_ALLOW"


def linux_seccomp(wanted: str | None, capabilities: Collection[str], *, privileged: bool) -> dict[str, Any] | None:
    """The filter for a container with these capabilities; None: none at all.

    `wanted` is None for Docker's default, `unconfined`, or the JSON text of a profile in Docker's format (which
    kubelets use too). Raises BadParameter.
    """
    if wanted == "unconfined" or (wanted is None and privileged):
        return None
    machine = os.uname().machine
    if machine not in data.ARCHITECTURES:
        raise BadParameter(f"no system call filter is known for {machine}; use seccomp=unconfined")
    if wanted is None:
        return _default(capabilities, machine)
    try:
        profile = loads(wanted)
    except DecodeError as error:
        raise BadParameter(f"opening seccomp profile failed: {error}") from error
    if not isinstance(profile, dict) or "defaultAction" not in profile:
        raise BadParameter("opening seccomp profile failed: a JSON object with a defaultAction is expected")
    return _translate(profile, capabilities, machine)


def _default(capabilities: Collection[str], machine: str) -> dict[str, Any]:
    architectures, own_calls = data.ARCHITECTURES[machine]
    names = {*data.ALWAYS, *own_calls}
    for capability in capabilities:
        names.update(data.WITH_CAPABILITY.get(capability, ()))
    rules: list[dict[str, Any]] = [
        {"names": sorted(names), "action": _ALLOW},
        {"names": ["socket"], "action": _ALLOW, "args": [_test(0, data.AF_VSOCK, "SCMP_CMP_NE")]},
    ]
    rules += [
        {"names": ["personality"], "action": _ALLOW, "args": [_test(0, value, "SCMP_CMP_EQ")]}
        for value in data.PERSONALITIES
    ]
    if "CAP_SYS_ADMIN" not in capabilities:
        test = {"index": 0, "value": data.NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
        rules.append({"names": ["clone"], "action": _ALLOW, "args": [test]})
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": data.ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": data.EPERM,
        "architectures": architectures,
        "syscalls": rules,
    }


def _test(index: int, value: int, operator: str) -> dict[str, Any]:
    return {"index": index, "value": value, "op": operator}


def _translate(profile: Mapping[str, Any], capabilities: Collection[str], machine: str) -> dict[str, Any]:
    """Docker's profile format: OCI's, plus an architecture map, and rules with conditions (includes, excludes)."""
    result = {key: profile[key] for key in ("defaultAction", "defaultErrnoRet", "flags") if profile.get(key)}
    architectures = list(profile.get("architectures") or ())
    own = data.ARCHITECTURES[machine][0][0]
    for entry in profile.get("archMap") or ():
        if entry.get("architecture") == own:
            architectures = [own, *(entry.get("subArchitectures") or ())]
    if architectures:
        result["architectures"] = architectures
    rules = []
    for rule in profile.get("syscalls") or ():
        names = list(rule.get("names") or ([rule["name"]] if rule.get("name") else ()))
        if names and _applies(rule, capabilities, machine):
            kept = {key: rule[key] for key in ("action", "errnoRet", "args") if rule.get(key) not in (None, [])}
            rules.append({"names": names, **kept})
    result["syscalls"] = rules
    return result


def _applies(rule: Mapping[str, Any], capabilities: Collection[str], machine: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    architecture = data.GO_ARCHITECTURES[machine]
    if any(c in capabilities for c in excludes.get("caps") or ()) or architecture in (excludes.get("arches") or ()):
        return False
    if not all(c in capabilities for c in includes.get("caps") or ()):
        return False
    return not includes.get("arches") or architecture in includes["arches"]
