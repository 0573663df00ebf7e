"""The Pod Security Standards as pure checks: a pod's spec in, complaints in upstream's words out.

After k8s.io/pod-security-admission/policy: one function a check, named by its id there; complaints come in the order of
the ids. A restricted check that covers a baseline one takes its place (OverrideCheckIDs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Spec = dict[str, Any]
Complaint = tuple[str, str]  # (what is forbidden, in which part of the pod)
Check = Callable[[Spec, dict[str, str]], Complaint | None]

_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    }
)  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_VOLUMES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
        "secret",
    }
)  # fmt: skip
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP = frozenset({"RuntimeDefault", "Localhost"})


def _containers(spec: Spec) -> Iterator[Spec]:
    for field in _CONTAINERS:
        yield from spec.get(field) or ()


def _context(holder: Spec) -> Spec:
    return holder.get("securityContext") or {}


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f'"{w}"' for w in words)


def _named(kind: str, names: list[str]) -> str:
    return f"{kind}{'s' if len(names) != 1 else ''} {_quoted(names)}"


def _bad(spec: Spec, wrong: Callable[[Spec], bool]) -> list[str]:
    return [c["name"] for c in _containers(spec) if wrong(_context(c))]


def _setters(spec: Spec, wrong: Callable[[Spec], bool]) -> list[str]:
    """Who set it: the pod, containers; as the sentence's subjects."""
    names = _bad(spec, wrong)
    return (["pod"] if wrong(_context(spec)) else []) + ([_named("container", names)] if names else [])


def _is_windows(spec: Spec) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def allow_privilege_escalation(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names = _bad(spec, lambda c: c.get("allowPrivilegeEscalation") is not False)
    if not names or _is_windows(spec):
        return None
    return "allowPrivilegeEscalation != false", (
        f"{_named('container', names)} must set securityContext.allowPrivilegeEscalation=false"
    )


def apparmor_profile(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    def wrong(context: Spec) -> bool:
        return (context.get("appArmorProfile") or {}).get("type") not in (None, *_SECCOMP)

    setters = _setters(spec, wrong)
    told = [f'{s} must not set AppArmor profile type to "Unconfined"' for s in setters]
    for key, value in sorted(notes.items()):
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/"):
            told.append(f'annotation "{key}" must not be "{value}"')
    if not told:
        return None
    return f"forbidden AppArmor profile{'s' if len(told) != 1 else ''}", " and ".join(told)


def capabilities_baseline(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names, found = _added(spec, _CAPABILITIES)
    if not names:
        return None
    where = f"{_named('container', names)} must not include {_quoted(sorted(found))}"
    return "non-default capabilities", f"{where} in securityContext.capabilities.add"


def capabilities_restricted(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    if _is_windows(spec):
        return None
    keeping = _bad(spec, lambda c: "ALL" not in ((c.get("capabilities") or {}).get("drop") or ()))
    adding, found = _added(spec, frozenset({"NET_BIND_SERVICE"}))
    told = []
    if keeping:
        told.append(f'{_named("container", keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        what = f"must not include {_quoted(sorted(found))} in securityContext.capabilities.add"
        told.append(f"{_named('container', adding)} {what}")
    return ("unrestricted capabilities", "; ".join(told)) if told else None


def _added(spec: Spec, allowed: frozenset[str]) -> tuple[list[str], set[str]]:
    names, found = [], set[str]()
    for container in _containers(spec):
        extra = set((_context(container).get("capabilities") or {}).get("add") or ()) - allowed
        if extra:
            names.append(container["name"])
            found |= extra
    return names, found


def host_namespaces(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return ("host namespaces", ", ".join(used)) if used else None


def host_path_volumes(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names = [v["name"] for v in spec.get("volumes") or () if "hostPath" in v]
    return ("hostPath volumes", _named("volume", names)) if names else None


def host_ports(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names, ports = [], set[int]()
    for container in _containers(spec):
        used = {p["hostPort"] for p in container.get("ports") or () if p.get("hostPort")}
        if used:
            names.append(container["name"])
            ports |= used
    if not names:
        return None
    verb, noun = "use" if len(names) > 1 else "uses", "hostPorts" if len(ports) > 1 else "hostPort"
    return noun, f"{_named('container', names)} {verb} {noun} {', '.join(map(str, sorted(ports)))}"


def privileged(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names = _bad(spec, lambda c: bool(c.get("privileged")))
    if not names:
        return None
    return "privileged", f"{_named('container', names)} must not set securityContext.privileged=true"


def proc_mount(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    if spec.get("hostUsers") is False:
        return None  # in a user namespace of its own (since 1.33)
    names = _bad(spec, lambda c: c.get("procMount") not in (None, "Default"))
    if not names:
        return None
    kinds = sorted({_context(c)["procMount"] for c in _containers(spec) if c["name"] in names})
    return "procMount", f"{_named('container', names)} must not set securityContext.procMount to {_quoted(kinds)}"


def restricted_volumes(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names, types = [], set[str]()
    for volume in spec.get("volumes") or ():
        others = set(volume) - {"name"} - _VOLUMES
        if others:
            names.append(volume["name"])
            types |= others
    if not names:
        return None
    verb, noun = "use" if len(names) > 1 else "uses", "types" if len(types) > 1 else "type"
    return "restricted volume types", (
        f"{_named('volume', names)} {verb} restricted volume {noun} {_quoted(sorted(types))}"
    )


def run_as_non_root(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    reason, field = "runAsNonRoot != true", "securityContext.runAsNonRoot"
    if spec.get("hostUsers") is False:
        return None
    bad = _setters(spec, lambda c: c.get("runAsNonRoot") is False)
    pod_says = _context(spec).get("runAsNonRoot")
    if bad and not (bad == ["pod"] and all(_context(c).get("runAsNonRoot") for c in _containers(spec))):
        return reason, f"{' and '.join(bad)} must not set {field}=false"
    silent = [] if pod_says else _bad(spec, lambda c: c.get("runAsNonRoot") is None)
    return (reason, f"pod or {_named('container', silent)} must set {field}=true") if silent else None


def run_as_user(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    if spec.get("hostUsers") is False:
        return None
    bad = _setters(spec, lambda c: c.get("runAsUser") == 0)
    return ("runAsUser=0", f"{' and '.join(bad)} must not set runAsUser=0") if bad else None


def selinux_options(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    def options(context: Spec) -> Spec:
        return context.get("seLinuxOptions") or {}

    def wrong(context: Spec) -> bool:
        given = options(context)
        return bool(given.get("type", "") not in _SELINUX_TYPES or given.get("user") or given.get("role"))

    bad = _setters(spec, wrong)
    if not bad:
        return None
    holders = [options(_context(h)) for h in (spec, *_containers(spec))]
    types = sorted({o["type"] for o in holders if o.get("type", "") not in _SELINUX_TYPES})
    told = [f"type{'s' if len(types) > 1 else ''} {_quoted(types)}"] if types else []
    told += [f"{field} may not be set" for field in ("user", "role") if any(o.get(field) for o in holders)]
    return "seLinuxOptions", f"{' and '.join(bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(told)}"


def _seccomp(context: Spec) -> str | None:
    found: str | None = (context.get("seccompProfile") or {}).get("type")
    return found


def _seccomp_setters(spec: Spec) -> Complaint | None:
    bad = _setters(spec, lambda c: _seccomp(c) not in (None, *_SECCOMP))
    if not bad:
        return None
    types = {_seccomp(_context(h)) or "" for h in (spec, *_containers(spec))} - _SECCOMP - {""}
    return "seccompProfile", (
        f"{' and '.join(bad)} must not set securityContext.seccompProfile.type to {_quoted(sorted(types))}"
    )


def seccomp_baseline(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    return _seccomp_setters(spec)


def seccomp_restricted(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    if _is_windows(spec):
        return None
    if (found := _seccomp_setters(spec)) is not None:
        return found
    silent = [] if _seccomp(_context(spec)) else _bad(spec, lambda c: _seccomp(c) is None)
    if not silent:
        return None
    must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return "seccompProfile", f"pod or {_named('container', silent)} {must}"


def sysctls(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    names = [s["name"] for s in _context(spec).get("sysctls") or () if s["name"] not in _SYSCTLS]
    return ("forbidden sysctls", ", ".join(names)) if names else None


def windows_host_process(spec: Spec, notes: dict[str, str]) -> Complaint | None:
    bad = _setters(spec, lambda c: bool((c.get("windowsOptions") or {}).get("hostProcess")))
    if not bad:
        return None
    return "hostProcess", f"{' and '.join(bad)} must not set securityContext.windowsOptions.hostProcess=true"


_BASELINE: dict[str, Check] = {
    "appArmorProfile": apparmor_profile,
    "capabilities_baseline": capabilities_baseline,
    "hostNamespaces": host_namespaces,
    "hostPathVolumes": host_path_volumes,
    "hostPorts": host_ports,
    "privileged": privileged,
    "procMount": proc_mount,
    "seLinuxOptions": selinux_options,
    "seccompProfile_baseline": seccomp_baseline,
    "sysctls": sysctls,
    "windowsHostProcess": windows_host_process,
}
_COVERED = {"capabilities_baseline", "hostPathVolumes", "seccompProfile_baseline"}
_RESTRICTED: dict[str, Check] = {
    **{name: check for name, check in _BASELINE.items() if name not in _COVERED},
    "allowPrivilegeEscalation": allow_privilege_escalation,
    "capabilities_restricted": capabilities_restricted,
    "restrictedVolumes": restricted_volumes,
    "runAsNonRoot": run_as_non_root,
    "runAsUser": run_as_user,
    "seccompProfile_restricted": seccomp_restricted,
}
_LEVELS: dict[str, dict[str, Check]] = {
    "privileged": {},
    "baseline": dict(sorted(_BASELINE.items())),
    "restricted": dict(sorted(_RESTRICTED.items())),
}
LEVELS = frozenset(_LEVELS)


def complaints(level: str, spec: Spec, notes: dict[str, str]) -> str:
    """What `level` forbids of a pod with this spec and these annotations; empty where nothing."""
    found = [c for check in _LEVELS[level].values() if (c := check(spec, notes)) is not None]
    return ", ".join(f"{reason} ({detail})" for reason, detail in found)
