"""Which resources a server has: aggregated discovery (KEP-3352), or group by group where the server is older."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from groundplane.client.client import Client, call
from groundplane.client.contract import JSON, ApiError, Request
from groundplane.client.resources import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Found:
    """A resource and the verbs that it offers."""

    resource: Resource
    verbs: frozenset[str]


async def discover(client: Client) -> list[Found]:
    """Every resource in its group's preferred version, subresources left out. Raises ApiError, ConnectionLost."""
    found: dict[tuple[str, str], Found] = {}
    for root in ("/api", "/apis"):
        request = Request("GET", root, accept=f"{AGGREGATED},{JSON}")
        answer = await call(client.transport, request)
        entries = (
            _aggregated(answer) if answer.get("kind") == "APIGroupDiscoveryList" else await _plain(client, root, answer)
        )
        for each in entries:  # the preferred version comes first
            found.setdefault((each.resource.group, each.resource.plural), each)
    return list(found.values())


def collectable(found: Iterable[Found]) -> list[Resource]:
    """What the garbage collector and namespace deletion work on: listed, watched and deleted."""
    return [each.resource for each in found if each.verbs >= {"list", "watch", "delete"}]


def _aggregated(answer: dict[str, Any]) -> Iterable[Found]:
    for group in answer.get("items") or ():
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or ():
            for each in version.get("resources") or ():
                kind = (each.get("responseKind") or {}).get("kind") or ""
                namespaced = each.get("scope") == "Namespaced"
                resource = Resource(name, version["version"], each["resource"], kind, namespaced)
                yield Found(resource, frozenset(each.get("verbs") or ()))


async def _plain(client: Client, root: str, answer: dict[str, Any]) -> list[Found]:
    if root == "/api":
        versions = [("", version) for version in answer.get("versions") or ()]
    else:
        versions = []
        for group in answer.get("groups") or ():
            preferred = (group.get("preferredVersion") or {}).get("version")
            names = [each["version"] for each in group.get("versions") or ()]
            versions += [(group["name"], name) for name in sorted(names, key=lambda n: n != preferred)]
    found = []
    for group_name, version in versions:
        path = f"{root}/{group_name}/{version}" if group_name else f"{root}/{version}"
        try:
            listed = await client.raw("GET", path)
        except ApiError as error:
            if error.is_not_found:  # it went away between the two requests
                continue
            raise
        for each in listed.get("resources") or ():
            if "/" not in each["name"]:
                resource = Resource(group_name, version, each["name"], each["kind"], bool(each.get("namespaced")))
                found.append(Found(resource, frozenset(each.get("verbs") or ())))
    return found
