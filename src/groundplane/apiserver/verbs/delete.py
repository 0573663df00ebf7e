"""DELETE of one object: at once, after a grace period, or when its finalizers are gone.

    preconditions → pending already? ──► a pod: only a shorter grace period counts; others: their finalizers by policy
                  → graceful kind (pods) with time left: stamp, wait for the node
                  → finalizers (its own, or orphan and foreground from the policy): stamp, wait for their owners
                  → else remove

The decisions are upstream's BeforeDelete and updateForGracefulDeletionAndFinalizers (registry/rest/delete.go,
registry/generic/registry/store.go); a pod that is deleted at once is stamped first, so that watchers see both steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.admission.contract import Attempt, Operation
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.request import truth
from groundplane.apiserver.storage.objects import Raced
from groundplane.apiserver.verbs import body, options, write
from groundplane.base.clock import parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_FINISHED = ("Succeeded", "Failed")
_DEFAULT_GRACE = 30  # v1.PodSpec terminationGracePeriodSeconds


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deletion does to an object now: write `mark` (None: nothing), then `remove` it or not."""

    mark: Object | None
    remove: bool


async def delete(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    asked = read_options(call)
    options.check_delete(asked)
    return await delete_one(machine, endpoint, call, call.namespace, call.name, asked)


def read_options(call: Call) -> Object:
    """DeleteOptions from the body, or from the query where there is no body. Raises BadRequest."""
    if call.body_error is not None:
        raise call.body_error
    if call.body:
        data = body.document(call, "DeleteOptions")
        if isinstance(data, dict) and data.get("kind") in (None, "", "DeleteOptions"):
            group_version = {**data, "kind": "DeleteOptions", "apiVersion": "v1"}
            return body.typed(call, group_version, "", "v1", "DeleteOptions")
        raise statuses.bad_request("the object provided is unrecognized (must be of type DeleteOptions)")
    query, found = call.query, dict[str, Any]()
    if (grace := options.whole_number(call, "gracePeriodSeconds")) is not None:
        found["gracePeriodSeconds"] = grace
    if policy := query.get("propagationPolicy"):
        found["propagationPolicy"] = policy
    if "orphanDependents" in query:
        found["orphanDependents"] = truth(query["orphanDependents"])
    if dry := query.all("dryRun"):
        found["dryRun"] = dry
    return found


async def delete_one(machine: Machine, endpoint: Endpoint, call: Call, namespace: str, name: str, asked: Object) -> One:
    """Delete an object. Raises StatusError."""
    namespace = namespace if endpoint.resource.namespaced else ""
    dry_run = bool(asked.get("dryRun")) or call.dry_run
    for _ in range(write.RACE_TRIES):
        old = endpoint.objects.get(namespace, name)
        _check_preconditions(endpoint, old, asked.get("preconditions") or {})
        attempt = Attempt(machine, call, Operation.DELETE, endpoint, "", namespace, name, None, old.object)
        await machine.admission.validate(attempt)
        plan = planned(endpoint, old.object, asked, machine.clock.time())
        if dry_run:
            return _answer(endpoint, plan, plan.mark, old)
        try:
            return await _carry_out(machine, endpoint, plan, old)
        except Raced:
            continue
    raise endpoint.conflict(name)


async def _carry_out(machine: Machine, endpoint: Endpoint, plan: Plan, old: Stored) -> One:
    newest = old
    if plan.mark is not None:
        newest = await endpoint.objects.replace(old, plan.mark)
    if not plan.remove:
        return _answer(endpoint, plan, newest.object, old)
    if plan.mark is None:
        await endpoint.objects.remove(newest)
    else:
        await _remove_stamped(endpoint, newest)
    await machine.released(endpoint, old.object)
    return _answer(endpoint, plan, newest.object if plan.mark is not None else None, old)


async def _remove_stamped(endpoint: Endpoint, stamped: Stored) -> None:
    """Remove what was stamped to go at once, whoever writes to it meanwhile: nobody would ask for it again."""
    newest: Stored | None = stamped
    while newest is not None and newest.meta["uid"] == stamped.meta["uid"]:
        try:
            await endpoint.objects.remove(newest)
        except Raced:
            newest = endpoint.objects.find(stamped.meta.get("namespace", ""), stamped.meta["name"])
        else:
            return


def planned(endpoint: Endpoint, obj: Object, asked: Object, now: float) -> Plan:
    """What to do with `obj`. Pure. Raises Conflict for a namespace that is not empty yet."""
    which = (endpoint.resource.group, endpoint.resource.plural)
    if which == ("", "namespaces"):
        return _namespace(endpoint, obj, now)
    meta = obj["metadata"]
    if meta.get("deletionTimestamp") and which == ("", "pods"):
        return _again(obj, asked)
    finalizers = lifecycle.finalizers_for(obj, asked, orphans_by_default=endpoint.strategy.orphans_by_default)
    changed = (
        obj if finalizers == (meta.get("finalizers") or []) else lifecycle.with_meta(obj, finalizers=finalizers or None)
    )
    if which == ("", "pods"):
        grace = _grace(obj, asked)
        return Plan(lifecycle.dying(changed, now, grace), remove=grace == 0 and not finalizers)
    if finalizers and meta.get("deletionTimestamp"):  # asked again, perhaps with another propagation policy
        return Plan(None if changed is obj else changed, remove=False)
    if finalizers:
        return Plan(lifecycle.dying(changed, now, 0), remove=False)
    return Plan(None, remove=True)


def _again(obj: Object, asked: Object) -> Plan:
    """A pod's deletion that is under way: only a shorter grace period changes anything."""
    meta = obj["metadata"]
    left, wanted = meta.get("deletionGracePeriodSeconds") or 0, asked.get("gracePeriodSeconds")
    wanted = 1 if wanted is not None and wanted < 0 else wanted
    if not left or wanted is None or wanted >= left:
        return Plan(None, remove=False)
    stamp = parse_rfc3339(meta["deletionTimestamp"]) - left + wanted
    mark = lifecycle.with_meta(obj, deletionTimestamp=rfc3339(stamp), deletionGracePeriodSeconds=wanted)
    return Plan(mark, remove=wanted == 0 and not meta.get("finalizers"))


def _grace(pod: Object, asked: Object) -> int:
    """Seconds a pod has to end itself (pkg/registry/core/pod/strategy.go, CheckGracefulDelete)."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    wanted = asked.get("gracePeriodSeconds")
    if wanted is None:
        given = spec.get("terminationGracePeriodSeconds")
        wanted = _DEFAULT_GRACE if given is None else given
    if not spec.get("nodeName") or status.get("phase") in _FINISHED:
        return 0
    return 1 if wanted < 0 else int(wanted)


def _namespace(endpoint: Endpoint, obj: Object, now: float) -> Plan:
    """A namespace waits, Terminating, until its controller has emptied it (pkg/registry/core/namespace/storage)."""
    meta, held = obj["metadata"], (obj.get("spec") or {}).get("finalizers")
    if meta.get("deletionTimestamp"):
        if held or meta.get("finalizers"):
            why = (
                "The system is ensuring all content is removed from this namespace.  Upon completion, this namespace "
                "will automatically be purged by the system."
            )
            raise endpoint.conflict(meta["name"], why)
        return Plan(None, remove=True)
    if not held and not meta.get("finalizers"):
        return Plan(None, remove=True)
    mark = lifecycle.with_meta(obj, deletionTimestamp=rfc3339(now))
    return Plan({**mark, "status": {**(obj.get("status") or {}), "phase": "Terminating"}}, remove=False)


def _check_preconditions(endpoint: Endpoint, old: Stored, wanted: Object) -> None:
    """uid and resourceVersion the client insists on; upstream names the kind here, not the resource."""
    meta, name, kind = old.meta, old.meta["name"], endpoint.resource.kind
    uid, version = wanted.get("uid"), wanted.get("resourceVersion")
    if uid is not None and uid != meta.get("uid"):
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({meta.get('uid')}). "
            "The object might have been deleted and then recreated"
        )
        raise statuses.conflict(endpoint.resource.group, kind, name, why)
    if version is not None and version != str(old.revision):
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({old.revision}). The object might have been modified"
        )
        raise statuses.conflict(endpoint.resource.group, kind, name, why)


# ReturnDeletedObject: these answer with the object; all others with a Status once nothing is left to wait for.
_SHOWN = {
    ("", "pods"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("", "persistentvolumes"),
    ("", "persistentvolumeclaims"),
    ("", "podtemplates"),
    ("", "resourcequotas"),
    ("storage.k8s.io", "storageclasses"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "csinodes"),
    ("storage.k8s.io", "volumeattachments"),
    ("storage.k8s.io", "volumeattributesclasses"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
    ("resource.k8s.io", "resourceslices"),
}


def _answer(endpoint: Endpoint, plan: Plan, marked: Object | None, old: Stored) -> One:
    shown = (endpoint.resource.group, endpoint.resource.plural) in _SHOWN
    if shown or not plan.remove:
        return One(endpoint.show(marked if marked is not None else old.object), endpoint=endpoint)
    details: Object = {"name": old.meta["name"]}
    if endpoint.resource.group:
        details["group"] = endpoint.resource.group
    details |= {"kind": endpoint.resource.plural, "uid": old.meta.get("uid", "")}
    return One(statuses.success(details))
