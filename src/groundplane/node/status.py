"""A pod's status from what is observed: a pure function (kubelet's generateAPIPodStatus and what it calls).

The phase follows the containers and the restart policy; conditions keep their transition times while their status does
not change; a waiting container says why in upstream's words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from groundplane.base.clock import rfc3339
from groundplane.node import given
from groundplane.node.plan import backoff_left, backoff_of, deadline_passed, restarts, terminal
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
_SCHEME = "groundplane://"


def pod_status(pod: Pod, observed: Observed, host_ip: str, now: float) -> Status:
    """The whole status that the node wants the cluster to show. The pod given is the newest known, status included."""
    old: Status = pod.get("status") or {}
    init = [_container_status(pod, c, observed, now, init=True) for c in init_containers(pod)]
    apps = [_container_status(pod, c, observed, now, init=False) for c in app_containers(pod)]
    apps.sort(key=lambda s: str(s["name"]))  # as kubelet: SortedContainerStatuses
    failed_deadline = deadline_passed(pod, now) and not terminal(pod, observed)
    phase = "Failed" if failed_deadline else _phase(pod, observed)
    status: Status = {"phase": phase, "observedGeneration": pod["metadata"].get("generation", 0)}
    if old.get("phase") in ("Succeeded", "Failed"):  # an end is final, with its reason
        phase = old["phase"]
        status |= {key: old[key] for key in ("phase", "reason", "message") if key in old}
    elif failed_deadline:
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
    """pkg/kubelet/kubelet_pods.go, getPhase."""
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
    views = [observed.latest(c["name"]) for c in app_containers(pod)]
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
    if view is None:
        status["state"] = {"waiting": _waiting(pod, observed, failure, init=init)}
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
        ready = init and view.exit_code == 0
    status["ready"] = ready
    status["restartCount"] = view.attempt if view else 0
    status["image"] = view.image if view else container.get("image", "")
    status["imageID"] = view.image_id if view else ""
    if view is not None:
        status["containerID"] = _SCHEME + view.id
        known = _known(pod, name)
        status |= given.container_resources(container, status["containerID"], known)
    status["started"] = started
    return status | given.volume_mounts(container)


def _known(pod: Pod, name: str) -> Status:
    """The container's last known status."""
    status = pod.get("status") or {}
    both = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return next((dict(one) for one in both if one.get("name") == name), {})


def _waiting(pod: Pod, observed: Observed, failure: Any, *, init: bool) -> Status:
    if failure is not None:
        return {"reason": failure.reason, "message": failure.message}
    if not init and not _initialized(pod, observed):
        return {"reason": "PodInitializing"}
    if init_containers(pod):
        return {"reason": "PodInitializing"}
    return {"reason": "ContainerCreating"}


def _between(pod: Pod, container: ContainerSpec, view: ContainerView, observed: Observed, now: float) -> Status | None:
    """An ended container that will run again: why it does not yet. None for the moment before its restart."""
    if (failure := observed.failures.get(view.name)) is not None:
        return {"reason": failure.reason, "message": failure.message}
    if backoff_left(view, observed, now) <= 0:
        return None
    delay = _duration(backoff_of(view))
    message = f"back-off {delay} restarting failed container={container['name']} pod={full_name(pod)}"
    return {"reason": "CrashLoopBackOff", "message": message}


def _duration(seconds: float) -> str:
    """Go's time.Duration: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _terminated(view: ContainerView) -> Status:
    code = view.exit_code
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
    status["startedAt"] = _time(view.started_at)
    status["finishedAt"] = _time(view.finished_at)
    status["containerID"] = _SCHEME + view.id
    return status


def _last_state(view: ContainerView | None) -> Status:
    return {"terminated": _terminated(view)} if view is not None and view.ended else {}


def _time(nanoseconds: int) -> str | None:
    return rfc3339(nanoseconds / 1e9) if nanoseconds else None


def _initialized(pod: Pod, observed: Observed) -> bool:
    for container in init_containers(pod):
        view = observed.latest(container["name"])
        if view is None:
            return False
        if is_sidecar(container):
            if view.running and not observed.verdict(view).started:
                return False
        elif not view.ended or view.exit_code != 0:
            return _any_app(pod, observed)
    return True


def _conditions(
    pod: Pod, observed: Observed, old: Status, apps: list[Status], init: list[Status], phase: str, now: float
) -> list[Status]:
    known = {c["type"]: c for c in old.get("conditions") or ()}
    mine = {t: (s, r, m) for t, s, r, m in _wanted(pod, observed, apps, init, phase)}
    result = []
    for type_, (wanted, reason, message) in mine.items():
        before = known.pop(type_, None)
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
    return result + list(known.values())  # conditions of others stay as they are: DisruptionTarget, gates


def _wanted(
    pod: Pod, observed: Observed, apps: list[Status], init: list[Status], phase: str
) -> Iterator[tuple[str, str, str, str]]:
    yield "PodReadyToStartContainers", _yes(bool(observed.sandbox)), "", ""
    if phase == "Succeeded":
        yield "Initialized", "True", "PodCompleted", ""
    elif _initialized(pod, observed):
        yield "Initialized", "True", "", ""
    else:
        left = [s["name"] for s in init if not s["ready"]]
        yield (
            "Initialized",
            "False",
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(left)}]",
        )
    unready = [s["name"] for s in apps if not s["ready"]]
    unready += [s["name"] for s, c in zip(init, init_containers(pod), strict=True) if is_sidecar(c) and not s["ready"]]
    if phase in ("Succeeded", "Failed"):
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
    for gate in gates:
        type_ = gate["conditionType"]
        if type_ not in held:
            return "ReadinessGatesNotReady", f'corresponding condition of pod readiness gate "{type_}" does not exist.'
        if held[type_] != "True":
            message = f'the status of pod readiness gate "{type_}" is not "True", but {held[type_]}'
            return "ReadinessGatesNotReady", message
    return "", ""


def _yes(value: bool) -> str:
    return "True" if value else "False"
