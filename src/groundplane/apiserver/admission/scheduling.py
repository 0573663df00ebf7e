"""What pods and nodes get for the scheduler's sake: priority, default tolerations, the first taint, a runtime class.

plugin/pkg/admission/{priority,defaulttolerationseconds,nodetaint,runtimeclass}.
"""

from __future__ import annotations

from typing import Any

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object

_SCHEDULING = "scheduling.k8s.io"
_SYSTEM_HIGHEST = 2_000_000_000
_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_TOLERATED_SECONDS = 300
_MIRROR = "kubernetes.io/config.mirror"


def _new_pods(operation: Operation, group: str, resource: str, subresource: str) -> bool:
    return operation is Operation.CREATE and (group, resource, subresource) == ("", "pods", "")


class Priority(Base):
    """A pod's number comes from its class; a class is the only way to a number."""

    name = "Priority"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        if (group, resource) == (_SCHEDULING, "priorityclasses"):
            return operation in (Operation.CREATE, Operation.UPDATE)
        return _new_pods(operation, group, resource, subresource)

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        if attempt.resource != "pods":
            return obj
        spec = obj["spec"]
        name = spec.get("priorityClassName", "")
        if not name and _MIRROR in (obj["metadata"].get("annotations") or {}) and spec.get("priority") is not None:
            return obj
        given = self._class(attempt, name)
        value = given["value"] if given else 0
        policy = (given or {}).get("preemptionPolicy") or "PreemptLowerPriority"
        if spec.get("priority") is not None and spec["priority"] != value:
            why = f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; "
            raise attempt.refuse(
                f"{why}priority admission controller computed {value} from the given PriorityClass name"
            )
        if spec.get("preemptionPolicy") and spec["preemptionPolicy"] != policy:
            why = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec; "
            )
            raise attempt.refuse(
                f"{why}priority admission controller computed {policy} from the given PriorityClass name"
            )
        changed = {**spec, "priority": value, "preemptionPolicy": policy}
        if not name and given:
            changed["priorityClassName"] = given["metadata"]["name"]
        return {**obj, "spec": changed}

    def _class(self, attempt: Attempt, name: str) -> Object | None:
        """The class that is named, or the global default, the smallest where there are several. Raises Forbidden."""
        if name:
            found = attempt.machine.find(_SCHEDULING, "priorityclasses", "", name)
            if found is None:
                raise attempt.refuse(f"no PriorityClass with name {name} was found")
            return found.object
        defaults = [c.object for c in attempt.machine.below(_SCHEDULING, "priorityclasses")]
        defaults = [c for c in defaults if c.get("globalDefault")]
        return min(defaults, key=lambda c: int(c["value"])) if defaults else None

    async def validate(self, attempt: Attempt, obj: Object | None) -> None:
        if attempt.resource != "priorityclasses" or not (obj or {}).get("globalDefault"):
            return
        for other in attempt.machine.below(_SCHEDULING, "priorityclasses"):
            if other.object.get("globalDefault") and other.meta["name"] != attempt.name:
                why = f"PriorityClass {other.meta['name']} is already marked as default. Only one default can exist"
                raise attempt.refuse(why)


class DefaultTolerationSeconds(Base):
    """A pod stays five minutes on a node that is gone, unless it says otherwise."""

    name = "DefaultTolerationSeconds"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return _new_pods(operation, group, resource, subresource)

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        given = obj["spec"].get("tolerations") or []
        added = [_toleration(key) for key in (_NOT_READY, _UNREACHABLE) if not any(_covers(t, key) for t in given)]
        if not added:
            return obj
        return {**obj, "spec": {**obj["spec"], "tolerations": [*given, *added]}}


def _toleration(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _TOLERATED_SECONDS}


def _covers(toleration: Object, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


class TaintNodesByCondition(Base):
    """A new node is not ready until somebody says so."""

    name = "TaintNodesByCondition"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is Operation.CREATE and (group, resource, subresource) == ("", "nodes", "")

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        spec: dict[str, Any] = obj.get("spec") or {}
        taints = spec.get("taints") or []
        if any(t.get("key") == _NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            return obj
        return {**obj, "spec": {**spec, "taints": [*taints, {"key": _NOT_READY, "effect": "NoSchedule"}]}}


class RuntimeClass(Base):
    """A pod's overhead and node constraints come from its runtime class."""

    name = "RuntimeClass"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return _new_pods(operation, group, resource, subresource)

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        spec = obj["spec"]
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise attempt.refuse(
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                )
            return obj
        found = attempt.machine.find("node.k8s.io", "runtimeclasses", "", name)
        if found is None:
            why = f'pod rejected: RuntimeClass "{name}" not found'
            raise attempt.refuse(why)
        return {**obj, "spec": self._merged(attempt, spec, found.object)}

    def _merged(self, attempt: Attempt, spec: Object, runtime: Object) -> Object:
        changed = dict(spec)
        overhead = (runtime.get("overhead") or {}).get("podFixed")
        if spec.get("overhead") and spec["overhead"] != overhead:
            why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise attempt.refuse(why)
        if overhead:
            changed["overhead"] = overhead
        scheduling = runtime.get("scheduling") or {}
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if (spec.get("nodeSelector") or {}).get(key, value) != value:
                field, other = f"nodeSelector[{key}]", spec["nodeSelector"][key]
                raise attempt.refuse(f"conflict: runtimeClass.scheduling.{field} = {value}; pod.spec.{field} = {other}")
            changed["nodeSelector"] = {**(changed.get("nodeSelector") or {}), key: value}
        for toleration in scheduling.get("tolerations") or ():
            if toleration not in (changed.get("tolerations") or ()):
                changed["tolerations"] = [*(changed.get("tolerations") or ()), toleration]
        return changed
