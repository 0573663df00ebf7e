"""Pods, containers and observations, so that a test line shows only what matters."""

from __future__ import annotations

from typing import Any

from groundplane.engine.contract import State
from groundplane.node.views import ContainerView, Observed

NOW = 1_700_000_000.0
SANDBOX = "sandbox-1"


def container(name: str = "web", image: str = "web:1", **more: Any) -> dict[str, Any]:
    return {"name": name, "image": image, **more}


def pod(
    *containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), meta: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "default", "uid": "u1", "generation": 1, **(meta or {})}
    body = {"restartPolicy": "Always", "containers": list(containers) or [container()], **spec}
    if init:
        body["initContainers"] = list(init)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": body, "status": {"phase": "Pending"}}


def running(name: str = "web", attempt: int = 0, *, image: str = "web:1", sandbox: str = SANDBOX) -> ContainerView:
    return view(name, attempt, State.RUNNING, image=image, sandbox=sandbox)


def ended(
    name: str = "web",
    code: int | None = 0,
    attempt: int = 0,
    *,
    backoff: int = 0,
    ago: float = 0.0,
    ran: float = 1.0,
    sandbox: str = SANDBOX,
) -> ContainerView:
    finished = int((NOW - ago) * 1e9)
    return view(
        name,
        attempt,
        State.EXITED,
        code=code,
        backoff=backoff,
        started=finished - int(ran * 1e9),
        finished=finished,
        sandbox=sandbox,
    )


def view(
    name: str,
    attempt: int,
    state: State,
    *,
    code: int | None = None,
    backoff: int = 0,
    image: str = "web:1",
    started: int = int(NOW * 1e9),
    finished: int = 0,
    sandbox: str = SANDBOX,
) -> ContainerView:
    return ContainerView(
        id=f"{name}-{attempt}",
        name=name,
        attempt=attempt,
        backoff=backoff,
        sandbox=sandbox,
        image=image,
        image_id="sha256:1",
        state=state,
        exit_code=code,
        started_at=started,
        finished_at=finished,
    )


def observed(*views: ContainerView, sandbox: str = SANDBOX, **more: Any) -> Observed:
    """Views of one container are given newest first."""
    containers: dict[str, tuple[ContainerView, ...]] = {}
    for one in views:
        containers[one.name] = (*containers.get(one.name, ()), one)
    return Observed(sandbox=sandbox, address="10.244.0.5" if sandbox else "", containers=containers, **more)
