"""/api, /apis and their documents: APIVersions, APIGroupList, APIGroup, APIResourceList, APIGroupDiscoveryList.

Shapes: k8s.io/apimachinery/pkg/apis/meta/v1 and k8s.io/api/apidiscovery/v2; which of the two a client gets is in its
Accept header (`g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList`, since Kubernetes 1.26).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from groundplane.apiserver import negotiate, statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call, One, Text
from groundplane.base import jsonyaml
from groundplane.kinds.resources import Resource

if TYPE_CHECKING:
    from groundplane.apiserver.registry import Registry

_AGGREGATED = "APIGroupDiscoveryList"
_OLD_TYPE = "application/json"


class Discovery:
    """The documents, made from the registry when they are asked for."""

    def __init__(self, registry: Registry, address: str) -> None:
        self._registry = registry
        self._address = address

    def api(self, call: Call) -> One | Text:
        if version := _wants_aggregated(call.accept):
            return self._aggregated([g for g in self._groups() if not g[0]], version)
        served = {"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}
        return One({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [served]})

    def apis(self, call: Call) -> One | Text:
        groups = [g for g in self._groups() if g[0]]
        if version := _wants_aggregated(call.accept):
            return self._aggregated(groups, version)
        shown = [_group(name, versions) for name, versions in groups]
        return One({"kind": "APIGroupList", "apiVersion": "v1", "groups": shown})

    def group_version(self, call: Call) -> One:
        """`/api/v1`, `/apis/GROUP`, `/apis/GROUP/VERSION`. Raises NotFound, NoSuchPage."""
        from groundplane.apiserver.nonresource import NoSuchPage  # late: the pages import this module

        parts = call.target.path.strip("/").split("/")
        groups = dict(self._groups())
        group = "" if parts[0] == "api" else parts[1]
        rest = parts[1:] if parts[0] == "api" else parts[2:]
        if group not in groups or (not group and parts[0] == "apis"):
            raise NoSuchPage
        if not rest:
            return One({"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])})
        if rest[0] not in groups[group]:
            raise statuses.no_such_resource()
        return One(self._resource_list(group, rest[0]))

    def _groups(self) -> list[tuple[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for endpoint in self._registry:
            versions = found.setdefault(endpoint.resource.group, [])
            if endpoint.resource.version not in versions:
                versions.append(endpoint.resource.version)
        return list(found.items())

    def _of(self, group: str, version: str) -> list[Resource]:
        found = [e.resource for e in self._registry if (e.resource.group, e.resource.version) == (group, version)]
        return sorted(found, key=lambda r: r.plural)

    def _resource_list(self, group: str, version: str) -> Object:
        entries: list[Object] = []
        for resource in self._of(group, version):
            entries.append(_entry(resource))
            entries += _subresource_entries(resource)
        entries.sort(key=lambda e: str(e["name"]))
        shown: Object = {"kind": "APIResourceList"}
        if group:
            shown["apiVersion"] = "v1"
        return {**shown, "groupVersion": f"{group}/{version}" if group else version, "resources": entries}

    def _aggregated(self, groups: Iterable[tuple[str, list[str]]], version: str) -> Text:
        items = []
        for name, versions in groups:
            meta = {"name": name} if name else {}
            shown = [
                {
                    "version": v,
                    "resources": [_discovered(r) for r in self._of(name, v)],
                    "freshness": "Current",
                }
                for v in versions
            ]
            items.append({"metadata": meta, "versions": shown})
        body = {
            "kind": _AGGREGATED,
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
        media = f"{_OLD_TYPE};g=apidiscovery.k8s.io;v={version};as={_AGGREGATED}"
        data = jsonyaml.dumps(body)
        etag = f'"{hashlib.sha512(data).hexdigest().upper()}"'
        return Text(data, media, headers={"ETag": etag, "Vary": "Accept"})


def _wants_aggregated(accept: str) -> str:
    """The version of the aggregated document the client prefers to the old one, or an empty string."""
    for clause in negotiate.clauses(accept):
        parameters = dict(clause.parameters)
        if f"{clause.main}/{clause.sub}" != "application/json":
            continue
        if not parameters.get("as"):
            return ""
        wanted = (parameters["as"], parameters.get("g"))
        if wanted == (_AGGREGATED, "apidiscovery.k8s.io") and parameters.get("v") in ("v2", "v2beta1"):
            return parameters["v"]
    return ""


def _group(name: str, versions: list[str]) -> Object:
    shown = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": shown, "preferredVersion": shown[0]}


def _entry(resource: Resource) -> Object:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "watch" in resource.verbs:
        entry["storageVersionHash"] = _hash(resource)
    return entry


def _hash(resource: Resource) -> str:
    """discovery.StorageVersionHash: 8 bytes of the digest of what the store keeps."""
    text = f"{resource.group}/{resource.version}/{resource.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _subresource_entries(resource: Resource) -> list[Object]:
    entries = []
    for name, sub in resource.subresources.items():
        entry: Object = {"name": f"{resource.plural}/{name}", "singularName": "", "namespaced": resource.namespaced}
        if (sub.group, sub.version) != (resource.group, resource.version):
            if sub.group:
                entry["group"] = sub.group
            entry["version"] = sub.version
        entries.append({**entry, "kind": sub.kind, "verbs": list(sub.verbs)})
    return entries


def _discovered(resource: Resource) -> Object:
    shown: Object = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        shown["shortNames"] = list(resource.short_names)
    if resource.categories:
        shown["categories"] = list(resource.categories)
    if resource.subresources:
        shown["subresources"] = [
            {
                "subresource": name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": list(sub.verbs),
            }
            for name, sub in sorted(resource.subresources.items())
        ]
    return shown
