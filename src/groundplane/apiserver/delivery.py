"""Write what every cluster has before its first client: delivered roles and namespaces, and the `kubernetes` Service.

`bootstrap.plan` says which delivered objects are missing; here they are completed like any created object and written
side by side, so that one durable commit carries many. The Service and its endpoints follow this server's own address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.bootstrap.plan import plan
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.registry import Endpoint
from groundplane.apiserver.storage.objects import Raced
from groundplane.base import jsonyaml
from groundplane.base.clock import rfc3339
from groundplane.kinds import decode, pack, resources, schema

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine

_TRIES = 8
_NAME, _NAMESPACE, _PORT_NAME = "kubernetes", "default", "https"


async def deliver(machine: Machine, address: str) -> None:
    """Bring the delivered objects up to date; `address` is where this server is reached. Raises StatusError."""
    for _ in range(_TRIES):
        await machine.cache.sync()
        if await _deliver(machine, address):
            return
    raise statuses.internal("the delivered objects could not be written: other servers changed them again and again")


async def bring_back(machine: Machine, address: str) -> None:
    """Make those of this server's own objects again that are gone: pods find the API by them. Raises StatusError."""
    gone = [obj for obj in _own(machine, address) if _living(machine, obj) is None]
    await _all(_keep(machine, obj) for obj in gone)


async def _deliver(machine: Machine, address: str) -> bool:
    """Write what is missing or old; False where another server of the same store was faster with some of it."""
    now = rfc3339(machine.clock.time())

    def find(wanted: Object) -> Object | None:
        stored = _living(machine, wanted)
        return stored.object if stored is not None else None

    todo = plan(pack.bootstrap_objects(), find, now)
    if not await _all(_create(machine, obj) for obj in todo.create):
        return False
    return await _all(
        [
            *(_replace(machine, living, better) for living, better in todo.update),
            *(_keep(machine, obj) for obj in _own(machine, address)),
        ]
    )


async def _all(writes: Iterable[Coroutine[Any, Any, None]]) -> bool:
    """Carry out writes side by side; False where one met somebody else's. Raises what another one raised."""
    answers = await asyncio.gather(*writes, return_exceptions=True)
    problems = [a for a in answers if a is not None]
    for problem in problems:
        raced = isinstance(problem, Raced) or (
            isinstance(problem, statuses.StatusError) and problem.reason == "AlreadyExists"
        )
        if not raced:
            raise problem
    return not problems


async def _replace(machine: Machine, living: Object, better: Object) -> None:
    objects, meta = _endpoint(machine, living).objects, living["metadata"]
    await objects.replace(objects.get(meta.get("namespace", ""), meta["name"]), better)


def _endpoint(machine: Machine, obj: Object) -> Endpoint:
    group, version = schema.split_api_version(obj["apiVersion"])
    resource = resources.by_kind(group, version, obj["kind"])
    assert resource is not None, f"delivered object of unknown kind {obj['kind']}"
    return machine.registry.of(group, resource.plural)


def _complete(machine: Machine, obj: Object) -> Object:
    """A delivered object as its creation through the API would have made it."""
    endpoint, now = _endpoint(machine, obj), machine.clock.time()
    decoded, _ = decode.decode(endpoint.type, jsonyaml.loads(jsonyaml.dumps(obj)))
    whole = endpoint.default({"kind": obj["kind"], "apiVersion": obj["apiVersion"], **decoded})
    whole = lifecycle.born(whole, now)
    status = obj.get("status")
    endpoint.strategy.prepare_create(whole, rfc3339(now))
    return {**whole, "status": status} if status else whole


async def _create(machine: Machine, obj: Object) -> None:
    whole = _complete(machine, obj)
    meta = whole["metadata"]
    await _endpoint(machine, obj).objects.create(meta.get("namespace", ""), meta["name"], whole)


async def _keep(machine: Machine, obj: Object) -> None:
    """Create an object of this server's own, or bring the part that follows its address up to date."""
    living = _living(machine, obj)
    if living is None:
        await _create(machine, obj)
        if obj["kind"] == "Service":
            assert machine.services is not None
            machine.services.restore([obj])
        return
    whole = _complete(machine, obj)
    kept = {k: v for k, v in whole.items() if k not in ("metadata", "status")}
    await _endpoint(machine, obj).objects.replace(living, {**living.object, **kept})


def _living(machine: Machine, obj: Object) -> Stored | None:
    meta = obj["metadata"]
    return _endpoint(machine, obj).objects.find(meta.get("namespace", ""), meta["name"])


def _own(machine: Machine, address: str) -> list[Object]:
    """The `kubernetes` Service, its endpoints, and the Service range (reconcilers of pkg/controlplane)."""
    settings, services = machine.settings, machine.services
    assert services is not None
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": _PORT_NAME, "port": settings.api_port, "protocol": "TCP"}
    skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    slice_labels = {"kubernetes.io/service-name": _NAME}
    own: list[Object] = [
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE, "labels": labels},
            "spec": {
                "ports": [{"name": _PORT_NAME, "protocol": "TCP", "port": 443, "targetPort": settings.api_port}],
                "clusterIP": services.first_ip,
                "clusterIPs": [services.first_ip],
                "type": "ClusterIP",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
            },
        },
        {
            "kind": "ServiceCIDR",
            "apiVersion": "networking.k8s.io/v1",
            "metadata": {"name": _NAME},
            "spec": {"cidrs": [settings.service_cidr]},
        },
    ]
    if address.startswith("127."):
        return own  # a loopback address is nobody else's way here, and no valid endpoint either
    return [
        *own,
        {
            "kind": "Endpoints",
            "apiVersion": "v1",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE, "labels": skip},
            "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
        },
        {
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"name": _NAME, "namespace": _NAMESPACE, "labels": slice_labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [port],
        },
    ]
