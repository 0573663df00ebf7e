"""What is accepted, but probably not what the author wants (pkg/api/pod/warnings.go, the strategies' WarningsOn…)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from groundplane.kinds import quantities
from groundplane.kinds.validation import names

Object = dict[str, Any]

_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")
_OLD_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'use "node.kubernetes.io/instance-type" instead',
}
_OLD_VOLUMES = {
    "gitRepo": "deprecated in v1.11",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}


def finalizers(obj: Object, old: Object | None) -> Iterator[str]:
    """Finalizers without a domain, where they are new."""
    known = (old or {}).get("metadata", {}).get("finalizers") or ()
    for value in obj["metadata"].get("finalizers") or ():
        if "/" not in value and value not in _STANDARD_FINALIZERS and value not in known:
            text = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with"
            yield f'metadata.finalizers: "{value}": {text} other finalizer writers'


def pod(obj: Object) -> Iterator[str]:
    """A pod, also by its name, which becomes its host name."""
    name = obj["metadata"].get("name", "")
    if problems := names.label(name):
        text = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
        yield f"metadata.name: {text}: [{', '.join(problems)}]"
    yield from pod_spec(obj["spec"], "spec")


def template(obj: Object) -> Iterator[str]:
    """Any workload with a pod template at `spec.template`."""
    found = obj["spec"].get("template")
    if found is not None:
        yield from pod_spec(found["spec"], "spec.template.spec")


def pod_spec(spec: Object, path: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if key in _OLD_NODE_LABELS:
            yield f"{path}.nodeSelector[{key}]: deprecated since v1.14; {_OLD_NODE_LABELS[key]}"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for kind, text in _OLD_VOLUMES.items():
            if kind in volume:
                yield f"{path}.volumes[{index}].{kind}: {text}"
    yield from _twice(spec.get("imagePullSecrets") or (), f"{path}.imagePullSecrets", "name", _duplicate_name)
    yield from _twice(spec.get("hostAliases") or (), f"{path}.hostAliases", "ip", _duplicate_address)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        yield f"{path}.terminationGracePeriodSeconds: {text}"
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _container(container, f"{path}.{kind}[{index}]")


def _duplicate_name(path: str, index: int, value: str) -> str:
    return f'{path}[{index}].name: duplicate name "{value}"'


def _duplicate_address(path: str, index: int, value: str) -> str:
    return f'{path}[{index}].ip: duplicate ip "{value}"'


def _twice(items: Iterable[Object], path: str, key: str, text: Callable[[str, int, str], str]) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(key, "")
        if value in seen:
            yield text(path, index, value)
        seen.add(value)


def _container(container: Object, path: str) -> Iterator[str]:
    for kind in ("limits", "requests"):
        amount = (container["resources"].get(kind) or {}).get("memory")
        if amount is not None and quantities.parse(amount).nano % 10**9:
            yield f'{path}.resources.{kind}[memory]: fractional byte value "{amount}" is invalid, must be an integer'
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name = variable.get("name", "")
        if name in seen:
            text = "hides previous definition of"
            yield f'{path}.env[{index}]: {text} "{name}", which may be dropped when using apply'
        seen.add(name)
    yield from _ports(container.get("ports") or (), f"{path}.ports")


def _ports(ports: Iterable[Object], path: str) -> Iterator[str]:
    seen: dict[tuple[Any, ...], int] = {}
    for index, port in enumerate(ports):
        key = tuple(port.get(name) for name in ("containerPort", "protocol", "hostPort", "hostIP"))
        if key in seen:
            yield f"{path}[{index}]: duplicate port definition with {path}[{seen[key]}]"
        seen.setdefault(key, index)


def service(obj: Object) -> Iterator[str]:
    """Addresses written in an unusual way."""
    for index, text in enumerate(obj["spec"].get("externalIPs") or ()):
        ip = names.parse_ip(text)
        if ip is not None and str(ip) != text:
            advice = f'will be considered invalid in a future release: use "{ip}"'
            yield f'spec.externalIPs[{index}]: non-standard IP address "{text}" {advice}'
    if obj["spec"].get("clusterIP") == "None" and obj["spec"].get("sessionAffinity") == "ClientIP":
        yield "spec.SessionAffinity is ignored for headless services"
