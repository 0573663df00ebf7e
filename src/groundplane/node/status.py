"""A pod's status from what is observed: a pure function (kubelet's generateAPIPodStatus and what it calls).

The phase follows the containers and the restart policy; conditions keep their transition times while their status does
not change; a waiting container says why in upstream's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from groundplane.base.clock import rfc3339
from groundplane.node import given
from groundplane.node.plan import backoff_left, backoff_of, deadline_hit, restarts, terminal
from groundplane.node.resources import qos_class
from groundplane.node.views import (
    ContainerSpec,
    ContainerView,
    Observed,
    Pod,
    app_containers,
    full_name,
    init_containers,
    is_sidecar,
)

Status = dict[str, Any]
ENDED = ("Succeeded", "Failed")
_SCHEME = "groundplane://"


def pod_status(pod: Pod, observed: Observed, host_ip: str, now: float) -> Status:
    """The whole status that the node wants the cluster to show. The pod given is the newest known, status included."""
    old: Status = pod.get("status") or {}
    init = [_container_status(pod, c, observed, now, init=True) for c in init_containers(pod)]
    apps = [_container_status(pod, c, observed, now, init=False) for c in app_containers(pod)]
    apps.sort(key=lambda s: str(s["name"]))  # as kubelet: SortedContainerStatuses
    late = deadline_hit(pod, observed, now)
    phase = "Failed" if late else _phase(pod, observed)
    status: Status = {"phase": phase, "observedGeneration": pod["metadata"].get("generation", 0)}
    if old.get("phase") in ENDED:  # an end is final, with its reason
        phase = old["phase"]
        status |= {key: old[key] for key in ("phase", "reason", "message") if key in old}
    elif phase in ENDED and any(view.running for view in observed.all()):
        # status_manager.go, mergePodStatus: what an ended pod had, others may take; so nothing of it runs any more.
        phase = status["phase"] = "Running" if _any_app(pod, observed) else "Pending"
    elif late:
        status["reason"] = "DeadlineExceeded"
        status["message"] = "Pod was active on the node longer than the specified deadline"
    status["conditions"] = _conditions(pod, observed, old, apps, init, phase, now)
    status["hostIP"] = host_ip
    status["hostIPs"] = [{"ip": host_ip}]
    address = observed.address or old.get("podIP", "")
    if pod["spec"].get("hostNetwork"):
        address = host_ip
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    status["startTime"] = old.get("startTime") or rfc3339(now)
    if init:
        status["initContainerStatuses"] = init
    status["containerStatuses"] = apps
    status["qosClass"] = old.get("qosClass") or qos_class(pod)
    return status | given.pod_level(pod, [*init, *apps])


def _phase(pod: Pod, observed: Observed) -> str:
    """pkg/kubelet/kubelet_pods.go, getPhase; a deleted pod's last one, too (status_manager.go, TerminatePod)."""
    views = [observed.latest(c["name"]) for c in app_containers(pod)]
    if pod["metadata"].get("deletionTimestamp") and not any(view.running for view in observed.all()):
        return "Succeeded" if all(v is not None and v.exit_code == 0 for v in views) else "Failed"
    for container in init_containers(pod):
        view = observed.latest(container["name"])
        if is_sidecar(container):
            if view is None:
                return "Pending"
            continue
        if view is None or view.running:
            return "Pending" if not _any_app(pod, observed) else "Running"
        if view.exit_code != 0:
            return "Pending" if restarts(pod, container, view, init=True) else "Failed"
    if any(v is None for v in views):
        return "Pending"
    if any(v is not None and v.running for v in views) or not terminal(pod, observed):
        return "Running"
    return "Succeeded" if all(v is not None and v.exit_code == 0 for v in views) else "Failed"


def _any_app(pod: Pod, observed: Observed) -> bool:
    return any(observed.latest(c["name"]) for c in app_containers(pod))


def _container_status(pod: Pod, container: ContainerSpec, observed: Observed, now: float, *, init: bool) -> Status:
    name = container["name"]
    view, previous = observed.latest(name), observed.previous(name)
    status: Status = {"name": name}
    ready = started = False
    failure = observed.failures.get(name)
    known = _known(pod, name)
    if view is None and _is_over(pod) and (known.get("state") or {}).get("terminated"):
        return known  # its container was taken away already; how it ended stays
    if view is None:
        status["state"] = {"waiting": _waiting(pod, failure)}
        status["lastState"] = {}
    elif view.running:
        verdict = observed.verdict(view)
        started = verdict.started
        ready = (verdict.started and verdict.ready) if not init or is_sidecar(container) else False
        status["state"] = {"running": {"startedAt": _time(view.started_at)}}
        status["lastState"] = _last_state(previous)
    elif restarts(pod, container, view, init=init) and not pod["metadata"].get("deletionTimestamp"):
        waiting = _between(pod, container, view, observed, now)
        status["state"] = {"waiting": waiting} if waiting else {"terminated": _terminated(view)}
        status["lastState"] = _last_state(view) if waiting else _last_state(previous)
    else:
        status["state"] = {"terminated": _terminated(view)}
        status["lastState"] = _last_state(previous)
        ready = init and not is_sidecar(container) and view.exit_code == 0
    status["ready"] = ready
    status["restartCount"] = view.attempt if view else known.get("restartCount", 0)
    status["image"] = view.image if view else container.get("image", "")
    status["imageID"] = view.image_id if view else ""
    if view is not None:
        status["containerID"] = _SCHEME + view.id
        status |= given.container_resources(container, status["containerID"], known)
    status["started"] = started
    return status | given.volume_mounts(container)


def _known(pod: Pod, name: str) -> Status:
    """The container's last known status."""
    status = pod.get("status") or {}
    both = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return next((dict(one) for one in both if one.get("name") == name), {})


def _is_over(pod: Pod) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp")) or (pod.get("status") or {}).get("phase") in ENDED


def _waiting(pod: Pod, failure: Any) -> Status:
    if failure is not None:
        return {"reason": failure.reason, "message": failure.message}
    return {"reason": "PodInitializing" if init_containers(pod) else "ContainerCreating"}


def _between(pod: Pod, container: ContainerSpec, view: ContainerView, observed: Observed, now: float) -> Status | None:
    """An ended container that will run again: why it does not yet. None for the moment before its restart."""
    if (failure := observed.failures.get(view.name)) is not None:
        return {"reason": failure.reason, "message": failure.message}
    if backoff_left(container, view, observed, now) <= 0:
        return None
    delay = _duration(backoff_of(view))
    message = f"back-off {delay} restarting failed container={container['name']} pod={full_name(pod)}"
    return {"reason": "CrashLoopBackOff", "message": message}


def _duration(seconds: float) -> str:
    """Go's time.Duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _terminated(view: ContainerView) -> Status:
    """What never ran has containerd's code for it, and no start: 128, 1970 (cri, task start failure)."""
    code = 128 if view.error else view.exit_code
    status: Status = {"exitCode": 137 if code is None else code}
    if view.oom_killed:
        status["reason"] = "OOMKilled"
    elif view.error:
        status["reason"] = "StartError"
    elif code is None:  # kubelet: the state of a container that vanished
        status["reason"] = "ContainerStatusUnknown"
    else:
        status["reason"] = "Completed" if code == 0 else "Error"
    if message := view.message or view.error:
        status["message"] = message
    if code is None and not view.message:
        status["message"] = "The container could not be located when the pod was terminated"
    status["startedAt"] = rfc3339(0) if view.error else _time(view.started_at)
    status["finishedAt"] = _time(view.finished_at)
    status["containerID"] = _SCHEME + view.id
    return status


def _last_state(view: ContainerView | None) -> Status:
    return {"terminated": _terminated(view)} if view is not None and view.ended else {}


def _time(nanoseconds: int) -> str | None:
    return rfc3339(nanoseconds / 1e9) if nanoseconds else None


def _conditions(
    pod: Pod, observed: Observed, old: Status, apps: list[Status], init: list[Status], phase: str, now: float
) -> list[Status]:
    """The node's own; a patch leaves those of others as they are: DisruptionTarget, readiness gates."""
    known = {c["type"]: c for c in old.get("conditions") or ()}
    result = []
    for type_, wanted, reason, message in _wanted(pod, observed, apps, init, phase):
        before = known.get(type_)
        condition: Status = {"type": type_, "observedGeneration": pod["metadata"].get("generation", 0)}
        condition["status"] = wanted
        condition["lastProbeTime"] = None
        same = before is not None and before.get("status") == wanted
        condition["lastTransitionTime"] = before.get("lastTransitionTime") if same and before else rfc3339(now)
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        result.append(condition)
    return result


def _wanted(
    pod: Pod, observed: Observed, apps: list[Status], init: list[Status], phase: str
) -> Iterator[tuple[str, str, str, str]]:
    yield "PodReadyToStartContainers", _yes(bool(observed.sandbox)), "", ""
    pairs = list(zip(init, init_containers(pod), strict=True))
    left = [s["name"] for s, c in pairs if not s["started" if is_sidecar(c) else "ready"]]
    if phase == "Succeeded":
        yield "Initialized", "True", "PodCompleted", ""
    elif not left or _any_app(pod, observed):
        yield "Initialized", "True", "", ""
    else:
        message = f"containers with incomplete status: [{' '.join(left)}]"
        yield "Initialized", "False", "ContainersNotInitialized", message
    ready = {s["name"] for s in (*init, *apps) if s["ready"]}
    both = (*filter(is_sidecar, init_containers(pod)), *app_containers(pod))
    unready = [c["name"] for c in both if c["name"] not in ready]
    if phase in ENDED:
        reason, message = ("PodCompleted", "") if phase == "Succeeded" else ("PodFailed", "")
    elif unready:
        reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    else:
        reason = message = ""
    contained = not reason
    gates, missing = pod["spec"].get("readinessGates") or (), ""
    if contained and gates:
        reason, message = _gates(pod, gates)
        missing = reason
    yield "Ready", _yes(contained and not missing), reason, message
    yield "ContainersReady", _yes(contained), "" if missing else reason, "" if missing else message
    yield "PodScheduled", "True", "", ""


def _gates(pod: Pod, gates: Any) -> tuple[str, str]:
    """KEP-580: readiness gates are conditions that others set."""
    held: Mapping[str, str] = {
        c["type"]: c.get("status", "") for c in (pod.get("status") or {}).get("conditions") or ()
    }
    missing = []
    for gate in gates:
        type_ = gate["conditionType"]
        if type_ not in held:
            missing.append(f'corresponding condition of pod readiness gate "{type_}" does not exist.')
        elif held[type_] != "True":
            missing.append(f'the status of pod readiness gate "{type_}" is not "True", but {held[type_]}')
    return ("ReadinessGatesNotReady", ", ".join(missing)) if missing else ("", "")


def _yes(value: bool) -> str:
    return "True" if value else "False"
