"""`pods/binding`: a pod gets its node, once (pkg/registry/core/pod/storage, BindingREST)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.admission.contract import Attempt, Operation
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.verbs import body, options, write
from groundplane.base.clock import rfc3339

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def create(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    """POST …/pods/NAME/binding, or a Binding into …/bindings."""
    binding = body.read(call, "", "v1", "Binding")
    options.check_write(call, "CreateOptions")
    binding = lifecycle.match_namespace(binding, call.namespace)
    name = call.name or binding["metadata"].get("name", "")
    if call.name and binding["metadata"].get("name", name) != name:
        raise statuses.bad_request("name in URL does not match name in Binding object")
    _check(binding, name)
    pods = machine.registry.of("", "pods")
    attempt = Attempt(machine, call, Operation.CREATE, pods, "binding", call.namespace, name, binding, None)
    binding = await machine.admission.mutate(attempt)
    await machine.admission.validate(attempt)
    now = rfc3339(machine.clock.time())
    if call.dry_run:
        bound(pods.objects.get(call.namespace, name).object, binding, now)
    else:
        await write.touch(pods, call.namespace, name, lambda pod: bound(pod, binding, now))
    return One(statuses.success(code=201), code=201)


def _check(binding: Object, name: str) -> None:
    target, causes = binding.get("target") or {}, []
    kind = target.get("kind", "")
    if kind not in ("", "Node"):
        causes.append(options.unsupported("target.kind", kind, ["Node", "<empty>"]))
    if not target.get("name"):
        causes.append(statuses.FieldCause("FieldValueRequired", "target.name", "Required value"))
    if causes:
        raise statuses.invalid("", "Binding", name, causes)


def bound(pod: Object, binding: Object, now: str) -> Object:
    """The pod on its node. Raises Conflict where it cannot be put there."""
    meta, spec, wanted = pod["metadata"], pod["spec"], binding["metadata"]
    name, why = meta["name"], ""
    if wanted.get("uid") and wanted["uid"] != meta["uid"]:
        why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {meta['uid']}"
    elif wanted.get("resourceVersion") and wanted["resourceVersion"] != meta["resourceVersion"]:
        why = statuses.MODIFIED
    elif meta.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise statuses.conflict("", "pods/binding", name, why)
    if added := wanted.get("annotations"):
        pod = lifecycle.with_meta(pod, annotations={**(meta.get("annotations") or {}), **added})
    if added := wanted.get("labels"):
        pod = lifecycle.with_meta(pod, labels={**(meta.get("labels") or {}), **added})
    # Where it was nominated to be says nothing any more (KEP-5278, ClearingNominatedNodeNameAfterBinding).
    status = {k: v for k, v in (pod.get("status") or {}).items() if k != "nominatedNodeName"}
    return {
        **pod,
        "spec": {**spec, "nodeName": binding["target"]["name"]},
        "status": {**status, "conditions": scheduled(status.get("conditions") or [], now)},
    }


def scheduled(conditions: list[Object], now: str) -> list[Object]:
    """The conditions with PodScheduled true; its transition time moves only where its status does."""
    before = next((c for c in conditions if c["type"] == "PodScheduled"), None)
    condition: Object = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    if before is not None and before["status"] == "True":
        condition["lastTransitionTime"] = before.get("lastTransitionTime")
    if before is None:
        return [*conditions, condition]
    return [condition if c is before else c for c in conditions]
