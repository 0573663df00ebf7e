"""Pods: the STATUS column sums up phase, reasons and the states of all containers (printPod)."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.tables.cells import NONE, age, is_true, name, since

Object = dict[str, Any]

_FINISHED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


def cells(pod: Object, now: float) -> list[Any]:
    summary = _Summary(pod)
    status, spec = pod["status"], pod["spec"]
    restarts = str(summary.restarts)
    if summary.restarts and summary.last_restart:
        restarts = f"{restarts} ({since(summary.last_restart, now)} ago)"
    addresses = status.get("podIPs") or ()
    address = addresses[0].get("ip") if addresses else status.get("podIP")
    return [
        name(pod), f"{summary.ready}/{summary.total}", summary.reason, restarts, age(pod, now), address or NONE,
        spec.get("nodeName") or NONE, status.get("nominatedNodeName") or NONE, _gates(pod),
    ]  # fmt: skip


def row_conditions(pod: Object) -> list[Object]:
    """What tells kubectl that the row's object is done."""
    phase = pod["status"].get("phase", "")
    if phase not in _FINISHED:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": _FINISHED[phase]}]


def _gates(pod: Object) -> str:
    gates = pod["spec"].get("readinessGates") or ()
    if not gates:
        return NONE
    return f"{sum(is_true(pod, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"


class _Summary:
    """READY, STATUS and RESTARTS of one pod."""

    def __init__(self, pod: Object) -> None:
        spec, status = pod["spec"], pod["status"]
        self.ready = 0
        self.total = len(spec.get("containers") or ())
        self.restarts = 0
        self.last_restart = ""
        self.reason = status.get("reason") or status.get("phase", "")
        for found in status.get("conditions") or ():
            if found.get("type") == "PodScheduled" and found.get("reason") == "SchedulingGated":
                self.reason = "SchedulingGated"
        inits = spec.get("initContainers") or ()
        sidecars = {c.get("name") for c in inits if c.get("restartPolicy") == "Always"}
        self.total += len(sidecars)
        if not self._initialize(status, sidecars, len(inits)) or is_true(pod, "Initialized"):
            self._run(pod)
        self._leave(pod)

    def _initialize(self, status: Object, sidecars: set[Any], inits: int) -> bool:
        """Go through the init containers; whether one of them is still at work or has failed."""
        sidecar_restarts, sidecar_last = 0, ""
        for index, container in enumerate(status.get("initContainerStatuses") or ()):
            self._count(container)
            is_sidecar = container.get("name") in sidecars
            if is_sidecar:
                sidecar_restarts += container.get("restartCount", 0)
                sidecar_last = max(sidecar_last, _last_end(container))
            state = container.get("state") or {}
            ended, waiting = state.get("terminated"), state.get("waiting") or {}
            if ended is not None and not ended.get("exitCode"):
                continue
            if is_sidecar and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if ended is not None:
                self.reason = f"Init:{_end_reason(ended)}"
            elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{inits}"
            self._sidecars = (sidecar_restarts, sidecar_last)
            return True
        self._sidecars = (sidecar_restarts, sidecar_last)
        return False

    def _run(self, pod: Object) -> None:
        """The containers proper: only they and sidecars count now."""
        self.restarts, self.last_restart = self._sidecars
        running = False
        for container in reversed(pod["status"].get("containerStatuses") or ()):
            self._count(container)
            state = container.get("state") or {}
            ended = state.get("terminated")
            if (state.get("waiting") or {}).get("reason"):
                self.reason = state["waiting"]["reason"]
            elif ended is not None:
                self.reason = _end_reason(ended)
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed" and running:
            self.reason = "Running" if is_true(pod, "Ready") else "NotReady"

    def _leave(self, pod: Object) -> None:
        if not pod["metadata"].get("deletionTimestamp"):
            return
        if pod["status"].get("reason") == "NodeLost":
            self.reason = "Unknown"
        elif pod["status"].get("phase") not in _FINISHED:
            self.reason = "Terminating"

    def _count(self, container: Object) -> None:
        self.restarts += container.get("restartCount", 0)
        self.last_restart = max(self.last_restart, _last_end(container))


def _last_end(container: Object) -> str:
    ended = (container.get("lastState") or {}).get("terminated") or {}
    return ended.get("finishedAt") or ""


def _end_reason(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
