"""Security contexts of pods and containers."""

from __future__ import annotations

import re
from typing import Any

from groundplane.kinds.validation import internal
from groundplane.kinds.validation.errors import Errors, duplicate, forbidden, invalid, required, unsupported

Object = dict[str, Any]

_IDS = "must be between 0 and 2147483647, inclusive"
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SECCOMP = ("Localhost", "RuntimeDefault", "Unconfined")


def container(context: Object, path: str) -> Errors:
    """A container's own context."""
    errors = _ids(context, path, ("runAsUser", "runAsGroup"))
    if (mount := context.get("procMount")) is not None and mount not in ("Default", "Unmasked"):
        errors.append(unsupported(f"{path}.procMount", mount, ("Default", "Unmasked")))
    errors += _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    errors += _apparmor(context.get("appArmorProfile"), f"{path}.appArmorProfile")
    if context.get("allowPrivilegeEscalation") is False:
        shown = internal.shown("core.v1.SecurityContext", context)
        if context.get("privileged"):
            text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, shown, text))
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, shown, text))
    return errors


def pod(context: Object, spec: Object, path: str) -> Errors:
    """A pod's context; `spec` holds the host namespaces, which upstream counts to it."""
    errors = _ids(context, path, ("fsGroup", "runAsUser", "runAsGroup"))
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        if not 0 <= group <= 2147483647:
            errors.append(invalid(f"{path}.supplementalGroups[{index}]", group, _IDS))
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, text))
    errors += _sysctls(context.get("sysctls") or (), f"{path}.sysctls")
    errors += _choice(context, path, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    errors += _choice(context, path, "supplementalGroupsPolicy", ("Merge", "Strict"))
    errors += _choice(context, path, "seLinuxChangePolicy", ("MountOption", "Recursive"))
    errors += _seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    return errors + _apparmor(context.get("appArmorProfile"), f"{path}.appArmorProfile")


def _choice(context: Object, path: str, name: str, allowed: tuple[str, ...]) -> Errors:
    value = context.get(name)
    return [] if value is None or value in allowed else [unsupported(f"{path}.{name}", value, allowed)]


def _ids(context: Object, path: str, names: tuple[str, ...]) -> Errors:
    return [
        invalid(f"{path}.{name}", context[name], _IDS)
        for name in names
        if name in context and not 0 <= context[name] <= 2147483647
    ]


def _seccomp(profile: Object | None, path: str) -> Errors:
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if kind not in _SECCOMP:
        missing = required(f"{path}.type", "type is required when seccompProfile is set")
        return [unsupported(f"{path}.type", kind, _SECCOMP) if kind else missing]
    if kind == "Localhost":
        if local is None:
            return [required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")]
        if local.startswith("/"):
            return [invalid(f"{path}.localhostProfile", local, "must be a relative path")]
        if ".." in local.split("/"):
            return [invalid(f"{path}.localhostProfile", local, "must not contain '..'")]
    elif local is not None:
        return [invalid(f"{path}.localhostProfile", local, "can only be set when seccomp type is Localhost")]
    return []


def _apparmor(profile: Object | None, path: str) -> Errors:
    if profile is None:
        return []
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if kind not in _SECCOMP:
        missing = required(f"{path}.type", "type is required when appArmorProfile is set")
        return [unsupported(f"{path}.type", kind, _SECCOMP) if kind else missing]
    if kind == "Localhost":
        if local is None:
            return [required(f"{path}.localhostProfile", "must be set when AppArmor type is Localhost")]
        if local != local.strip():
            text = "must not be padded with whitespace"
            return [invalid(f"{path}.localhostProfile", local, text)]
        return [] if local else [required(f"{path}.localhostProfile", "must be set when AppArmor type is Localhost")]
    if local is not None:
        return [invalid(f"{path}.localhostProfile", local, "can only be set when AppArmor type is Localhost")]
    return []


def _sysctls(sysctls: Any, path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        name, where = sysctl.get("name", ""), f"{path}[{index}].name"
        if not name:
            errors.append(required(where))
        elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
            errors.append(invalid(where, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
        elif name in seen:
            errors.append(duplicate(where, name))
        seen.add(name)
    return errors


def host_network_ports(spec: Object, path: str) -> Errors:
    """With the host's network, a container's port is the host's."""
    errors: Errors = []
    for kind in ("containers", "initContainers"):
        for index, one in enumerate(spec.get(kind) or ()):
            for number, port in enumerate(one.get("ports") or ()):
                host = port.get("hostPort", 0)
                if host != port.get("containerPort"):
                    text = "must match `containerPort` when `hostNetwork` is true"
                    errors.append(invalid(f"{path}.{kind}[{index}].ports[{number}].hostPort", host, text))
    return errors


def host_users(spec: Object, path: str) -> Errors:
    """A pod with a user namespace of its own cannot share other namespaces with the host."""
    if spec.get("hostUsers", True) is not False:
        return []
    text = "when `hostUsers` is false"
    return [forbidden(f"{path}.{name}", text) for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
