"""Requests and limits as the kernel wants them: QoS class, cgroup shares and quotas, OOM scores.

Rules: kubelet's pkg/kubelet/cm/helpers_linux.go (shares, quota), qos/policy.go (OOM scores),
pkg/apis/core/v1/helper/qos (classes).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from groundplane.engine.contract import Resources
from groundplane.kernel import caps
from groundplane.kernel.calls.files import read_text
from groundplane.kinds import quantities
from groundplane.node.views import Pod, app_containers, init_containers, is_sidecar

_MIN_SHARES = 2
_PERIOD = 100_000  # microseconds
_MIN_QUOTA = 1_000
_GUARANTEED_SCORE = -997
_BEST_EFFORT_SCORE = 1000
_LOWEST_SCORE = -1000


@dataclass(frozen=True, slots=True)
class Host:
    """What this host has to give: bytes of memory, and the lowest OOM score that its node may set."""

    memory: int
    lowest_oom_score: int = _LOWEST_SCORE


def this_host() -> Host:
    """proc_pid_oom_score_adj(5): a score is lowered only with CAP_SYS_RESOURCE, else our own is the lowest."""
    may_lower = caps.mask(["CAP_SYS_RESOURCE"]) & caps.current()["CapEff"]
    lowest = _LOWEST_SCORE if may_lower else int(read_text("/proc/self/oom_score_adj"))
    return Host(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), lowest)


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort."""
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    for container in (*app_containers(pod), *init_containers(pod)):
        resources = container.get("resources") or {}
        limited = set()
        for name, text in (resources.get("requests") or {}).items():
            if name in ("cpu", "memory") and (size := quantities.parse(text).nano) > 0:
                requests[name] = requests.get(name, 0) + size
        for name, text in (resources.get("limits") or {}).items():
            if name in ("cpu", "memory") and (size := quantities.parse(text).nano) > 0:
                limits[name] = limits.get(name, 0) + size
                limited.add(name)
        guaranteed = guaranteed and limited == {"cpu", "memory"}
    if not requests and not limits:
        return "BestEffort"
    same = all(limits.get(name) == size for name, size in requests.items()) and len(requests) == len(limits)
    return "Guaranteed" if guaranteed and same else "Burstable"


def cgroup_of(pod: Pod) -> str:
    """The pod's cgroup below the instance's own; guaranteed pods stand beside the two classes, as kubelet has them."""
    name = f"pod{pod['metadata']['uid']}"
    match qos_class(pod):
        case "Guaranteed":
            return f"pods/{name}"
        case quality:
            return f"pods/{quality.lower()}/{name}"


def container_resources(pod: Pod, container: Mapping[str, Any], host: Host) -> Resources:
    """One container's cgroup limits and OOM score."""
    wanted = container.get("resources") or {}
    requests, limits = wanted.get("requests") or {}, wanted.get("limits") or {}
    cpu_limit = _milli(limits)
    cpu = _milli(requests) if "cpu" in requests else cpu_limit
    return Resources(
        cpu_shares=_shares(cpu),
        cpu_quota=_quota(cpu_limit),
        cpu_period=_PERIOD if cpu_limit else 0,
        memory=_memory(limits),
        oom_score_adj=max(_oom_score(pod, requests, limits, host.memory), host.lowest_oom_score),
    )


def pod_resources(pod: Pod) -> Resources:
    """The pod's own cgroup: what its containers may use together.

    Limits only where every container has one, init containers too (helpers_linux.go, ResourceConfigForPod).
    """
    apps = [c.get("resources") or {} for c in app_containers(pod)]
    apps += [c.get("resources") or {} for c in init_containers(pod) if is_sidecar(c)]
    once = [c.get("resources") or {} for c in init_containers(pod) if not is_sidecar(c)]
    cpu = sum(_milli(r.get("requests") or r.get("limits") or {}) for r in apps)
    cpu = max([cpu, *(_milli(r.get("requests") or r.get("limits") or {}) for r in once)])
    quota = _together([[_milli(r.get("limits") or {}) for r in each] for each in (apps, once)])
    memory = _together([[_memory(r.get("limits") or {}) for r in each] for each in (apps, once)])
    return Resources(
        cpu_shares=_shares(cpu), cpu_quota=_quota(quota), cpu_period=_PERIOD if quota else 0, memory=memory
    )


def _together(limits: list[list[int]]) -> int:
    """Of those that run beside each other, and of those that run once before; 0 where one has no limit."""
    beside, once = limits
    return max([sum(beside), *once]) if all(beside) and all(once) else 0


def _milli(amounts: Mapping[str, Any]) -> int:
    return quantities.parse(amounts["cpu"]).milli if "cpu" in amounts else 0


def _memory(amounts: Mapping[str, Any]) -> int:
    return quantities.parse(amounts["memory"]).value if "memory" in amounts else 0


def _shares(milli_cpu: int) -> int:
    return max(milli_cpu * 1024 // 1000, _MIN_SHARES)


def _quota(milli_cpu: int) -> int:
    return max(milli_cpu * _PERIOD // 1000, _MIN_QUOTA) if milli_cpu else 0


def _oom_score(pod: Pod, requests: Mapping[str, Any], limits: Mapping[str, Any], capacity: int) -> int:
    match qos_class(pod):
        case "Guaranteed":
            return _GUARANTEED_SCORE
        case "BestEffort":
            return _BEST_EFFORT_SCORE
    asked = _memory(requests) or _memory(limits)
    score = 1000 - 1000 * asked // max(capacity, 1)
    return min(max(score, 1000 + _GUARANTEED_SCORE), _BEST_EFFORT_SCORE - 1)
