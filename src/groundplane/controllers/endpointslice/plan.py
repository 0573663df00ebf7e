"""Which slices to create, change and delete. Pure. k8s.io/endpointslice reconciler.go `reconcileByPortMapping`.

Endpoints with the same ports share slices. An endpoint stays in the slice it is in; new ones fill slices that change
anyway, then the fullest slice with room for all of them, then new slices. A Service without endpoints has one empty
slice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundplane.base.jsonyaml import dumps
from groundplane.client.contract import Object
from groundplane.client.objects import (
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
    replace_in,
    uid_of,
)
from groundplane.client.resources import SERVICES
from groundplane.controllers.pods import is_ready
from groundplane.controllers.service_pods import (
    HEADLESS_LABEL,
    addresses_of,
    can_back,
    hostname_of,
    is_headless,
    ports_for,
    target_of,
)

MAX_ENDPOINTS = 100
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGER_LABEL = "endpointslice.kubernetes.io/managed-by"
_OWN_LABELS = (SERVICE_LABEL, MANAGER_LABEL, HEADLESS_LABEL)


@dataclass(slots=True)
class Plan:
    """The writes that bring the slices of one Service to what they should be."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)


def plan(service: Object, pods: Iterable[Object], slices: Sequence[Object], zones: Mapping[str, str]) -> Plan:
    """`pods`: those that the Service selects; `slices`: those that this controller manages; `zones` by node name."""
    families = _families(service)
    # A slice of a former Service of this name belongs to that one, and goes with it.
    usable: list[Object] = []
    result = Plan()
    for each in slices:
        fits = each.get("addressType") in families and _is_owned(service, each)
        (usable if fits else result.delete).append(each)
    pods = list(pods)
    for family in families:
        mine = [s for s in usable if s.get("addressType") == family]
        _plan_family(result, service, family, _wanted(service, pods, family, zones), mine)
    return result


def _plan_family(
    result: Plan, service: Object, family: str, wanted: Mapping[bytes, _Group], slices: Sequence[Object]
) -> None:
    by_ports: dict[bytes, list[Object]] = {}
    for each in slices:
        by_ports.setdefault(dumps(each.get("ports") or []), []).append(each)
    create: list[Object] = []
    unused = [s for ports, group in by_ports.items() if ports not in wanted for s in group]
    for ports, group in wanted.items():
        made, changed, emptied = _fit(service, family, group, by_ports.get(ports, []))
        create += made
        result.update += changed
        unused += emptied
    if not wanted:  # nothing to tell: one empty slice says that there is nothing
        keep = next((s for s in unused if not s.get("endpoints") and not s.get("ports")), None)
        if keep is None:
            create.append(_slice(service, family, [], []))
        else:
            unused.remove(keep)
            if (relabelled := _relabelled(service, keep)) is not keep:
                result.update.append(relabelled)
    while create and unused:  # a slice that is not needed takes the content of one that is
        old, new = unused.pop(), create.pop()
        body = {**old, "endpoints": new["endpoints"], "ports": new["ports"]}
        result.update.append(_relabelled(service, body))
    result.create += create
    result.delete += unused


@dataclass(slots=True)
class _Group:
    """Endpoints with the same ports, by address and pod: pods in their node's network share one address."""

    ports: list[Object]
    endpoints: dict[tuple[str, str], Object] = field(default_factory=dict)


def _wanted(service: Object, pods: Iterable[Object], family: str, zones: Mapping[str, str]) -> dict[bytes, _Group]:
    groups: dict[bytes, _Group] = {}
    for pod in pods:
        address = next((a for a in addresses_of(pod) if (":" in a) == (family == "IPv6")), None)
        if address is None or not can_back(pod, include_terminating=True):
            continue
        ports = ports_for(service, pod)
        if not ports and (service.get("spec") or {}).get("ports"):
            continue  # it offers none of the named ports
        group = groups.setdefault(dumps(ports), _Group(ports))
        group.endpoints[address, uid_of(pod)] = endpoint(service, pod, address, zones)
    return groups


def endpoint(service: Object, pod: Object, address: str, zones: Mapping[str, str]) -> Object:
    """One pod as an endpoint. `ready` is what proxies use; `serving` is readiness alone, also while terminating."""
    serving, terminating = is_ready(pod), is_deleting(pod)
    always = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    entry: Object = {
        "addresses": [address],
        "conditions": {
            "ready": always or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": target_of(pod),
    }
    node = (pod.get("spec") or {}).get("nodeName")
    if node:
        entry["nodeName"] = node
        if zone := zones.get(node):
            entry["zone"] = zone
    if hostname := hostname_of(service, pod):
        entry["hostname"] = hostname
    return entry


def _fit(
    service: Object, family: str, group: _Group, slices: Sequence[Object]
) -> tuple[list[Object], list[Object], list[Object]]:
    """(to create, to update, emptied) for one group of ports."""
    left = dict(group.endpoints)
    kept: dict[str, list[Object]] = {}
    bodies = {name_of(s): s for s in slices}
    touched: set[str] = set()
    for each in slices:
        old = each.get("endpoints") or []
        new = [e for o in old if (e := left.pop(_endpoint_key(o), None)) is not None]
        kept[name_of(each)] = new
        if new != [_plain(o) for o in old] or _relabelled(service, each) is not each:
            touched.add(name_of(each))
    new_ones = list(left.values())
    for name in sorted(touched, key=lambda n: -len(kept[n])):
        room = MAX_ENDPOINTS - len(kept[name])
        kept[name] += new_ones[:room]
        new_ones = new_ones[room:]
    if new_ones and (name := _fullest_with_room(kept, touched, len(new_ones))):
        kept[name] += new_ones
        touched.add(name)
        new_ones = []
    made = [
        _slice(service, family, group.ports, new_ones[i : i + MAX_ENDPOINTS])
        for i in range(0, len(new_ones), MAX_ENDPOINTS)
    ]
    changed = [_relabelled(service, {**bodies[n], "endpoints": kept[n]}) for n in sorted(touched) if kept[n]]
    emptied = [bodies[n] for n in sorted(touched) if not kept[n]]
    return made, changed, emptied


def _fullest_with_room(kept: Mapping[str, Sequence[Object]], touched: set[str], count: int) -> str:
    fitting = [n for n, endpoints in kept.items() if n not in touched and len(endpoints) + count <= MAX_ENDPOINTS]
    return max(fitting, key=lambda n: (len(kept[n]), n), default="")


def _endpoint_key(stored: Object) -> tuple[str, str]:
    return (stored.get("addresses") or [""])[0], (stored.get("targetRef") or {}).get("uid") or ""


def _plain(stored: Object) -> Object:
    """A stored endpoint without what we do not compute."""
    target = {k: v for k, v in (stored.get("targetRef") or {}).items() if k != "resourceVersion"}
    return {**{k: v for k, v in stored.items() if v not in (None, {}, [])}, "targetRef": target}


def _labels(service: Object, old: Mapping[str, str]) -> dict[str, str]:
    """The Service's labels and ours; others' labels on an existing slice stay."""
    mine = {SERVICE_LABEL: name_of(service), MANAGER_LABEL: MANAGER}
    if is_headless(service):
        mine[HEADLESS_LABEL] = ""
    return {**{k: v for k, v in labels_of(service).items() if k not in _OWN_LABELS}, **mine}


def _relabelled(service: Object, each: Object) -> Object:
    wanted = _labels(service, labels_of(each))
    return each if wanted == labels_of(each) else replace_in(each, ("metadata", "labels"), wanted)


def _slice(service: Object, family: str, ports: list[Object], endpoints: list[Object]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "labels": _labels(service, {}),
            "ownerReferences": [owner_reference(service, SERVICES)],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }


def _is_owned(service: Object, each: Object) -> bool:
    """Ours, or nobody's: a slice that was made by hand and says that we manage it."""
    owner = next((ref for ref in each["metadata"].get("ownerReferences") or () if ref.get("controller")), None)
    return owner is None or owner.get("uid") == uid_of(service)


def _families(service: Object) -> list[str]:
    spec: dict[str, Any] = service.get("spec") or {}
    families = spec.get("ipFamilies")
    if families:
        return list(families)
    return ["IPv6" if ":" in (spec.get("clusterIP") or "") else "IPv4"]
