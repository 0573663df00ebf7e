"""What the node knows of a pod's containers, as values: read from the engine, given to the plan and to the status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from groundplane.engine.contract import ContainerInfo, State

Pod = dict[str, Any]
ContainerSpec = dict[str, Any]
"""One element of spec.containers or spec.initContainers."""

# Labels by which a pod's containers and sandbox are found again after any crash (as kubelet's, pkg/kubelet/types).
POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
ATTEMPT = "io.kubernetes.container.restartCount"
SANDBOX = "io.groundplane.sandbox"
BACKOFF = "io.groundplane.backoff"  # how many quick ends in a row came before this attempt
IMAGE = "io.groundplane.image"  # the image as the pod named it


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One attempt of one container. Times are nanoseconds since the epoch."""

    id: str
    name: str
    attempt: int
    backoff: int
    sandbox: str
    image: str
    image_id: str
    state: State
    exit_code: int | None = None
    started_at: int = 0
    finished_at: int = 0
    oom_killed: bool = False
    error: str = ""
    message: str = ""  # the termination message, read once it has ended
    replaced: bool = False  # the node ended it so that another image can run

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def ended(self) -> bool:
        return self.state is State.EXITED


def view_of(info: ContainerInfo, message: str = "", *, replaced: bool = False) -> ContainerView:
    labels = info.spec.labels
    return ContainerView(
        id=info.id,
        name=labels.get(CONTAINER_NAME, ""),
        attempt=int(labels.get(ATTEMPT, "0")),
        backoff=int(labels.get(BACKOFF, "0")),
        sandbox=labels.get(SANDBOX, ""),
        image=labels.get(IMAGE, info.spec.image),
        image_id=info.image_id,
        state=info.state,
        exit_code=info.exit_code,
        started_at=info.started_at,
        finished_at=info.finished_at,
        oom_killed=info.oom_killed,
        error=info.error,
        message=message,
        replaced=replaced,
    )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a container is not there: shown as its waiting state until `retry_at` (monotonic seconds)."""

    reason: str
    message: str
    retry_at: float
    delay: float = 0.0
    image: str = ""  # the image that could not be had: another one is tried at once


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probes say of one attempt. `unhealthy` names the probe that wants it ended."""

    started: bool = True
    ready: bool = True
    unhealthy: str = ""  # "liveness" or "startup"


@dataclass(frozen=True, slots=True)
class Observed:
    """One moment of one pod. `containers` holds each container's attempts, newest first."""

    sandbox: str = ""
    address: str = ""
    containers: Mapping[str, tuple[ContainerView, ...]] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)  # by container id
    failures: Mapping[str, Failure] = field(default_factory=dict)  # by container name

    def latest(self, name: str) -> ContainerView | None:
        attempts = self.containers.get(name)
        return attempts[0] if attempts else None

    def previous(self, name: str) -> ContainerView | None:
        attempts = self.containers.get(name, ())
        return attempts[1] if len(attempts) > 1 else None

    def verdict(self, view: ContainerView) -> Verdict:
        return self.verdicts.get(view.id, Verdict())

    def all(self) -> Iterator[ContainerView]:
        for attempts in self.containers.values():
            yield from attempts


def init_containers(pod: Pod) -> list[ContainerSpec]:
    return list(pod["spec"].get("initContainers") or ())


def app_containers(pod: Pod) -> list[ContainerSpec]:
    return list(pod["spec"].get("containers") or ())


def is_sidecar(container: ContainerSpec) -> bool:
    """A restartable init container (KEP-753): it starts in its turn and then runs beside the others."""
    return container.get("restartPolicy") == "Always"


def known_verdict(pod: Pod, container_id: str) -> Verdict | None:
    """What the cluster knows of this very attempt: a restarted node goes on from there, and disturbs no endpoint."""
    status = pod.get("status") or {}
    for one in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if str(one.get("containerID") or "").rpartition("/")[2] == container_id:
            return Verdict(started=bool(one.get("started")), ready=bool(one.get("ready")))
    return None


def full_name(pod: Pod) -> str:
    """`name_namespace(uid)`, as kubelet's messages name a pod."""
    meta = pod["metadata"]
    return f"{meta['name']}_{meta['namespace']}({meta['uid']})"
