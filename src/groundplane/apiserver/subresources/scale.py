"""`/scale`: the number of replicas of whatever has one, as autoscaling/v1 Scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs import body, options, owners, write
from groundplane.apiserver.verbs import patch as patches
from groundplane.kinds import schema, selectors

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

GROUP, VERSION, KIND = "autoscaling", "v1", "Scale"


def shown(obj: Object) -> Object:
    """The Scale of a workload."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Object = {
        "kind": KIND,
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {k: meta[k] for k in kept if k in meta},
        "spec": {"replicas": spec["replicas"]} if spec.get("replicas") else {},
        "status": {"replicas": status.get("replicas") or 0},
    }
    if text := _selector(spec.get("selector")):
        scale["status"]["selector"] = text
    return scale


def _selector(selector: Any) -> str:
    """The selector as query text; a ReplicationController's is a bare map of labels."""
    if not selector:
        return ""
    if "matchLabels" in selector or "matchExpressions" in selector:
        return str(selectors.from_object(selector))
    return str(selectors.from_map(selector))


async def get(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    return One(shown(endpoint.objects.get(call.namespace, call.name).object))


async def update(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    scale = body.read(call, GROUP, VERSION, KIND)
    options.check_write(call, "UpdateOptions")
    scale = lifecycle.match_namespace(scale, call.namespace)
    lifecycle.match_name(scale, call.name)
    return await _write(machine, endpoint, call, lambda _current: scale)


async def patch(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    kind = body.media_type(call.content_type)
    if kind not in (body.JSON_PATCH, body.MERGE_PATCH, body.STRATEGIC_PATCH):
        raise statuses.unsupported_patch()
    document = body.document_of_patch(call)
    options.check_patch(call, is_apply=False)
    type_ = schema.type_of(GROUP, VERSION, KIND)
    assert type_ is not None

    def made(current: Object) -> Object:
        combined = patches.combine(type_, kind, document, current)
        return patches.typed(type_, call, combined, document if kind == body.STRATEGIC_PATCH else None)

    return await _write(machine, endpoint, call, made)


async def _write(machine: Machine, endpoint: Endpoint, call: Call, make: Any) -> One:
    def scaled(old: Object | None) -> Object:
        assert old is not None
        wanted = make(shown(old))
        replicas = (wanted.get("spec") or {}).get("replicas") or 0
        if replicas < 0:
            why = f"Invalid value: {replicas}: must be greater than or equal to 0"
            cause = statuses.FieldCause("FieldValueInvalid", "spec.replicas", why)
            raise statuses.invalid(GROUP, KIND, call.name, [cause])
        version = wanted["metadata"].get("resourceVersion") or old["metadata"]["resourceVersion"]
        new = lifecycle.with_meta(old, resourceVersion=version)
        return {**new, "spec": {**old["spec"], "replicas": replicas}}

    change = write.Change(call.name, scaled, owners.updater(machine, endpoint, call, "scale"))
    answer = await write.update(machine, endpoint, call, change)
    return One(shown(answer.object))
