"""Which node and container a streaming request means (core/pod/strategy.go: LogLocation)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call
from groundplane.apiserver.streams.contract import NodeApi

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant. Raises BadRequest."""
    meta, spec = pod["metadata"], pod["spec"]
    names = [c["name"] for c in spec.get("containers") or ()]
    inits = [c["name"] for c in spec.get("initContainers") or ()]
    every = [*names, *inits, *(c["name"] for c in spec.get("ephemeralContainers") or ())]
    name = asked or (meta.get("annotations") or {}).get(_DEFAULT_CONTAINER, "")
    if not name:
        if len(names) == 1:
            return str(names[0])
        choose = f"a container name must be specified for pod {meta['name']}, choose one of: [{' '.join(names)}]"
        if inits:
            choose += f" or one of the init containers: [{' '.join(inits)}]"
        raise statuses.bad_request(choose)
    if name not in every:
        raise statuses.bad_request(f"container {name} is not valid for pod {meta['name']}")
    return name


def locate(machine: Machine, endpoint: Endpoint, call: Call) -> tuple[Object, str, NodeApi | None]:
    """The pod, its container, and the way to its node (None: the pod has no node yet). Raises StatusError."""
    pod = endpoint.objects.get(call.namespace, call.name).object
    container = container_of(pod, call.query.get("container", ""))
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        return pod, container, None
    node = machine.find("", "nodes", "", node_name)
    if node is None:
        raise statuses.not_found("", "nodes", node_name)
    if machine.nodes is None:
        raise statuses.internal(f"error dialing backend: no way to node {node_name} is configured")
    return pod, container, machine.nodes.dial(node.object)
