"""LimitRanger: a namespace's defaults and bounds for what containers, pods and claims ask for.

plugin/pkg/admission/limitranger. Defaults come first, then every complaint about every LimitRange is collected.
"""

from __future__ import annotations

from collections.abc import Iterator

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object
from groundplane.kinds import quantities

_ANNOTATION = "kubernetes.io/limit-ranger"
_FIELDS = ("initContainers", "containers")
_KINDS = {("", "pods"), ("", "persistentvolumeclaims")}
_NANO = 10**9


class LimitRanger(Base):
    name = "LimitRanger"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        if (group, resource) not in _KINDS or subresource:
            return False
        # Upstream looks at updates of claims (a resize), not of pods, whose resources cannot change there.
        return operation is Operation.CREATE or (operation is Operation.UPDATE and resource != "pods")

    def _limits(self, attempt: Attempt) -> list[Object]:
        ranges = attempt.machine.below("", "limitranges", attempt.namespace)
        return [limit for r in ranges for limit in (r.object.get("spec") or {}).get("limits") or ()]

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        if attempt.resource != "pods":
            return obj
        limits = [item for item in self._limits(attempt) if item.get("type") == "Container"]
        for limit in limits:
            obj = _defaulted(obj, limit.get("default") or {}, limit.get("defaultRequest") or {})
        return obj

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        assert obj is not None
        problems: list[str] = []
        for limit in self._limits(attempt):
            problems += _problems(attempt.resource, limit, obj)
        if problems:
            raise attempt.refuse(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _defaulted(pod: Object, limits: Object, requests: Object) -> Object:
    """The pod with defaults set where its containers say nothing, and a note of what was set."""
    spec, notes = dict(pod["spec"]), list[str]()
    for field in _FIELDS:
        if field not in spec:
            continue
        kind = "init container" if field == "initContainers" else "container"
        containers = []
        for container in spec[field]:
            merged, set_ = _merged(container.get("resources") or {}, limits, requests)
            containers.append({**container, "resources": merged} if set_ else container)
            notes += [f"{', '.join(names)} {word} for {kind} {container['name']}" for word, names in set_]
        spec[field] = containers
    if not notes:
        return pod
    meta = pod["metadata"]
    told = f"LimitRanger plugin set: {'; '.join(notes)}"
    return {
        **pod,
        "spec": spec,
        "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), _ANNOTATION: told}},
    }


def _merged(given: Object, limits: Object, requests: Object) -> tuple[Object, list[tuple[str, list[str]]]]:
    merged, notes = dict(given), []
    for word, field, defaults in (("request", "requests", requests), ("limit", "limits", limits)):
        missing = {k: v for k, v in defaults.items() if k not in (given.get(field) or {})}
        if missing:
            merged[field] = {**(given.get(field) or {}), **missing}
            notes.append((word, sorted(missing)))
    return merged, notes


def _problems(resource: str, limit: Object, obj: Object) -> Iterator[str]:
    kind = limit.get("type", "")
    if resource == "persistentvolumeclaims":
        if kind == "PersistentVolumeClaim":
            requests = ((obj.get("spec") or {}).get("resources") or {}).get("requests") or {}
            yield from _bounds(limit, kind, requests, requests)
    elif kind == "Container":
        for field in _FIELDS:
            for container in obj["spec"].get(field) or ():
                resources = container.get("resources") or {}
                yield from _bounds(limit, kind, resources.get("requests") or {}, resources.get("limits") or {})
    elif kind == "Pod":
        yield from _bounds(limit, kind, _sum(obj, "requests"), _sum(obj, "limits"))


def _bounds(limit: Object, kind: str, requests: Object, limits: Object) -> Iterator[str]:
    for name, least in sorted((limit.get("min") or {}).items()):
        yield from _least(name, kind, least, requests.get(name), limits.get(name))
    for name, most in sorted((limit.get("max") or {}).items()):
        word = "limit" if kind != "PersistentVolumeClaim" else "request"
        value = limits.get(name)
        if value is None:
            yield f"maximum {name} usage per {kind} is {most}.  No {word} is specified"
        elif _nano(value) > _nano(most):
            yield f"maximum {name} usage per {kind} is {most}, but {word} is {value}"
        elif kind != "PersistentVolumeClaim" and _nano(requests.get(name, "0")) > _nano(most):
            yield f"maximum {name} usage per {kind} is {most}, but request is {requests[name]}"
    for name, ratio in sorted((limit.get("maxLimitRequestRatio") or {}).items()):
        yield from _ratio(name, kind, ratio, requests.get(name), limits.get(name))


def _least(name: str, kind: str, least: str, request: str | None, limit: str | None) -> Iterator[str]:
    if request is None:
        yield f"minimum {name} usage per {kind} is {least}.  No request is specified"
    elif _nano(request) < _nano(least):
        yield f"minimum {name} usage per {kind} is {least}, but request is {request}"
    elif limit is not None and _nano(limit) < _nano(least):
        yield f"minimum {name} usage per {kind} is {least}, but limit is {limit}"


def _ratio(name: str, kind: str, ratio: str, request: str | None, limit: str | None) -> Iterator[str]:
    told = f"{name} max limit to request ratio per {kind} is {ratio}, but"
    if request is None or not _nano(request):
        yield f"{told} no request is specified or request is 0"
    elif limit is None or not _nano(limit):
        yield f"{told} no limit is specified or limit is 0"
    elif (actual := _nano(limit) / _nano(request)) > _nano(ratio) / _NANO:
        yield f"{told} provided ratio is {actual:f}"


def _sum(pod: Object, field: str) -> Object:
    """What the pod's containers ask for together; init containers count one at a time."""
    total: dict[str, int] = {}
    for container in pod["spec"].get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(field) or {}).items():
            total[name] = total.get(name, 0) + _nano(value)
    for container in pod["spec"].get("initContainers") or ():
        for name, value in ((container.get("resources") or {}).get(field) or {}).items():
            total[name] = max(total.get(name, 0), _nano(value))
    return {name: quantities.canonical(f"{nano}n") for name, nano in total.items()}


def _nano(quantity: str) -> int:
    return quantities.parse(quantity).nano
