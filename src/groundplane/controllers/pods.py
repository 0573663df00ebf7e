"""What controllers ask about a pod (pkg/api/v1/pod, pkg/controller/controller_utils.go), and pods out of templates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from groundplane.base.clock import parse_rfc3339
from groundplane.client.contract import Object
from groundplane.client.objects import is_deleting, name_of


def phase_of(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or ""


def is_finished(pod: Object) -> bool:
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def ready_condition(pod: Object) -> Object | None:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            found: Object = condition
            return found
    return None


def is_ready(pod: Object) -> bool:
    condition = ready_condition(pod)
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Object) -> float | None:
    """When the pod became ready, None where it is not or does not say."""
    condition = ready_condition(pod)
    if condition is None or condition.get("status") != "True":
        return None
    return seconds_of(condition.get("lastTransitionTime"))


def is_available(pod: Object, min_ready_seconds: int, now: float) -> bool:
    """Ready for at least `min_ready_seconds`."""
    if not is_ready(pod):
        return False
    if min_ready_seconds == 0:
        return True
    since = ready_since(pod)
    return since is not None and since + min_ready_seconds <= now


def seconds_of(stamp: str | None) -> float | None:
    return parse_rfc3339(stamp) if stamp else None


def pod_from_template(template: Object, owner: Object, reference: Object) -> Object:
    """The pod that `owner` creates: its template's labels, annotations, finalizers and spec, named after the owner."""
    meta = template.get("metadata") or {}
    wanted: dict[str, Any] = {
        "generateName": _prefix(name_of(owner)),
        "labels": meta.get("labels"),
        "annotations": meta.get("annotations"),
        "finalizers": meta.get("finalizers"),
        "ownerReferences": [reference],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {key: value for key, value in wanted.items() if value},
        "spec": template.get("spec") or {},
    }


def _prefix(name: str) -> str:
    """controller_utils.go getPodsPrefix: the dash is left out where the name would become invalid by it."""
    return f"{name}-" if len(name) < 253 else name


def node_index(pod: Object) -> Iterable[str]:
    """By the node that the pod is bound to."""
    node = (pod.get("spec") or {}).get("nodeName")
    if node:
        yield node
