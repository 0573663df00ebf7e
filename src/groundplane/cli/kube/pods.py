"""Which pod and container `logs` and `exec` mean, as kubectl chooses them."""

from __future__ import annotations

import sys

from groundplane.cli.kube.session import KubeError, Session, resource_named
from groundplane.client.contract import Object
from groundplane.client.resources import PODS
from groundplane.kinds import selectors

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


async def pod_of(session: Session, word: str) -> Object:
    """The pod `NAME`, `pod/NAME`, or the readiest of `TYPE/NAME`'s pods. Raises KubeError, ApiError."""
    type_, slash, name = word.partition("/")
    if not slash:
        return await session.of(PODS).get(word, session.namespace)
    resource = resource_named(type_)
    if resource == PODS:
        return await session.of(PODS).get(name, session.namespace)
    owner = await session.of(resource).get(name, session.namespace)
    selector = (owner.get("spec") or {}).get("selector")
    if not isinstance(selector, dict) or not selector:
        raise KubeError(f"error: cannot attach to *{resource.kind}: {resource.group_resource} select no pods")
    pods, _ = await session.of(PODS).list_all(session.namespace, label_selector=selector_text(selector))
    if not pods:
        raise KubeError(f"error: no pods of {word} are there yet")
    pods.sort(key=_readiness)
    chosen = pods[0]
    if len(pods) > 1:
        sys.stderr.write(f"Found {len(pods)} pods, using pod/{chosen['metadata']['name']}\n")
    return chosen


def selector_text(selector: Object) -> str:
    """A LabelSelector, or the plain map of a Service, in the words of a query."""
    is_map = not {"matchLabels", "matchExpressions"} & selector.keys()
    return str(selectors.from_map(selector) if is_map else selectors.from_object(selector))


def _readiness(pod: Object) -> tuple[bool, bool, bool, bool, str]:
    """Best first: has a node, runs, is ready, is not being deleted (kubectl: podutils.ActivePods, ByLogging)."""
    status = pod.get("status") or {}
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    return (
        not pod["spec"].get("nodeName"),
        "deletionTimestamp" in pod["metadata"],
        status.get("phase") != "Running",
        conditions.get("Ready") != "True",
        pod["metadata"]["name"],
    )


def container_of(pod: Object, asked: str) -> str:
    """The container asked for, the annotated one, or the first, which is told where there are several."""
    if asked:
        return asked
    names = [c["name"] for c in pod["spec"].get("containers") or ()]
    names += [c["name"] + " (init)" for c in pod["spec"].get("initContainers") or ()]
    annotated = (pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER, "")
    if annotated in names:
        return str(annotated)
    if len(names) > 1:
        sys.stderr.write(f'Defaulted container "{names[0]}" out of: {", ".join(names)}\n')
    return str(names[0])
