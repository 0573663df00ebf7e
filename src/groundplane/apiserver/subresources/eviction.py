"""`pods/eviction`: a deletion that asks the pod's disruption budget first (core/pod/storage/eviction.go)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.storage.objects import Raced
from groundplane.apiserver.verbs import body, options
from groundplane.apiserver.verbs.delete import delete_one
from groundplane.base.clock import rfc3339
from groundplane.kinds import selectors

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
_RETRY = 10  # seconds, while the budget's controller has not seen its newest generation
_TRIES = 20


async def create(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    eviction = body.read(call, "policy", "v1", "Eviction")
    options.check_write(call, "CreateOptions")
    if eviction["metadata"].get("name", call.name) != call.name:
        raise statuses.bad_request("name in URL does not match name in Eviction object")
    asked = dict(eviction.get("deleteOptions") or {})
    if call.dry_run:
        asked["dryRun"] = ["All"]
    pod = endpoint.objects.get(call.namespace, call.name).object
    if not _free(pod):
        await _charge(machine, pod, call, dry_run=bool(asked.get("dryRun")))
    await delete_one(machine, endpoint, call, call.namespace, call.name, asked)
    return One(statuses.success(code=201), code=201)


def _free(pod: Object) -> bool:
    """A pod that serves nobody is no loss (canIgnorePDB)."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


async def _charge(machine: Machine, pod: Object, call: Call, *, dry_run: bool) -> None:
    """Take one disruption from the pod's budget. Raises TooManyRequests where none is left."""
    budgets = machine.registry.of("policy", "poddisruptionbudgets")
    labels = pod["metadata"].get("labels") or {}
    name = pod["metadata"]["name"]
    for _ in range(_TRIES):
        matching = [b for b in budgets.objects.below(call.namespace) if _covers(b.object, labels)]
        if not matching:
            return
        if len(matching) > 1:
            raise statuses.internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            )
        budget = matching[0]
        if not _ready(pod) and _unhealthy_may_go(budget.object):
            return
        charged = spent(budget.object, name, rfc3339(machine.clock.time()))
        if dry_run:
            return
        try:
            await budgets.objects.replace(budget, charged)
            return
        except Raced:
            continue
    raise statuses.too_many_requests(_REFUSED, 0)


def _covers(budget: Object, labels: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and selectors.from_object(selector).matches(labels)


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _unhealthy_may_go(budget: Object) -> bool:
    """A pod that is not ready costs the budget nothing, where its policy says so."""
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    desired = status.get("desiredHealthy") or 0
    return desired > 0 and (status.get("currentHealthy") or 0) >= desired


def spent(budget: Object, pod: str, now: str) -> Object:
    """The budget with `pod`'s disruption charged. Raises TooManyRequests."""
    meta, status = budget["metadata"], budget.get("status") or {}
    name = meta["name"]

    def refuse(message: str, seconds: int) -> statuses.StatusError:
        return statuses.too_many_requests(_REFUSED, seconds, [{"reason": "DisruptionBudget", "message": message}])

    if (status.get("observedGeneration") or 0) < (meta.get("generation") or 0):
        raise refuse(f"The disruption budget {name} is still being processed by the server.", _RETRY)
    allowed = status.get("disruptionsAllowed") or 0
    if allowed <= 0:
        desired, healthy = status.get("desiredHealthy") or 0, status.get("currentHealthy") or 0
        raise refuse(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently", 0)
    disrupted = {**(status.get("disruptedPods") or {}), pod: now}
    return {**budget, "status": {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}}
