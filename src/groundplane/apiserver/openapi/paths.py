"""The path items of resources: what can be called, on which kind, with which parameters.

Clients read little of it: kubectl looks for `fieldValidation` and `dryRun` among a PATCH's parameters, by the
operation's x-kubernetes-group-version-kind, and generators want unique operation ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundplane.kinds.resources import Resource, Subresource

Item = dict[str, Any]

_METHODS = {
    "get": "get", "list": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete",
    "deletecollection": "delete",
}  # fmt: skip
_WORDS = {
    "get": "read", "list": "list", "create": "create", "update": "replace", "patch": "patch", "delete": "delete",
    "deletecollection": "deleteCollection",
}  # fmt: skip
_ACTIONS = {"create": "post", "update": "put"}
_COLLECTION = ("list", "create", "deletecollection")
_OBJECT = ("get", "update", "patch", "delete")
_WRITES = (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
_LISTS = (
    ("allowWatchBookmarks", "boolean"), ("continue", "string"), ("fieldSelector", "string"),
    ("labelSelector", "string"), ("limit", "integer"), ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"), ("sendInitialEvents", "boolean"), ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
)  # fmt: skip
_DELETES = (
    ("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
)  # fmt: skip
_QUERY = {
    "create": _WRITES, "update": _WRITES, "patch": (*_WRITES, ("force", "boolean")), "list": _LISTS,
    "delete": _DELETES, "deletecollection": (*_LISTS, *_DELETES),
}  # fmt: skip


def items(resource: Resource, version: int) -> Iterator[tuple[str, Item]]:
    """Every path of a resource with its item; `version` is OpenAPI's, 2 or 3."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{root}{scope}/{resource.plural}"
    yield from _item(collection, resource, None, [v for v in _COLLECTION if v in resource.verbs], version)
    if resource.namespaced and "list" in resource.verbs:
        yield from _item(f"{root}/{resource.plural}", resource, None, ["list"], version)
    yield from _item(f"{collection}/{{name}}", resource, None, [v for v in _OBJECT if v in resource.verbs], version)
    for sub in resource.subresources.values():
        verbs = [v for v in (*_OBJECT, "create") if v in sub.verbs]
        yield from _item(f"{collection}/{{name}}/{sub.name}", resource, sub, verbs, version)


def _item(
    path: str, resource: Resource, sub: Subresource | None, verbs: list[str], version: int
) -> Iterator[tuple[str, Item]]:
    if not verbs:
        return
    item: Item = {}
    for verb in verbs:
        item[_METHODS[verb]] = _operation(path, resource, sub, verb, version)
    names = [n for n in ("name", "namespace") if f"{{{n}}}" in path]
    item["parameters"] = [_parameter(n, "path", "string", version) for n in names]
    yield path, item


def _operation(path: str, resource: Resource, sub: Subresource | None, verb: str, version: int) -> Item:
    group, kind = resource.group, resource.kind
    gvk = {"group": group, "kind": kind, "version": resource.version}
    if sub is not None:
        gvk = {"group": sub.group, "kind": sub.kind, "version": sub.version}
    title = _title(group) + resource.version.capitalize()
    scope = "Namespaced" if "{namespace}" in path else ""
    tail = "".join(p.capitalize() for p in sub.name.split("/")) if sub is not None else ""
    every = "ForAllNamespaces" if resource.namespaced and not scope else ""
    answers = ("200", "201") if verb in ("create", "update", "patch") else ("200",)
    action = "patch" if verb == "patch" else _ACTIONS.get(verb, verb)
    return {
        "operationId": f"{_WORDS[verb]}{title}{scope}{kind if sub is None else resource.kind}{tail}{every}",
        "tags": [f"{_tag(group)}_{resource.version}"],
        "parameters": [_parameter(n, "query", t, version) for n, t in _QUERY.get(verb, ())],
        "responses": {code: {"description": "OK"} for code in answers},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk,
    }


def _tag(group: str) -> str:
    return _title(group)[:1].lower() + _title(group)[1:]


def _title(group: str) -> str:
    """`rbac.authorization.k8s.io` is RbacAuthorization, the core group Core."""
    if not group:
        return "Core"
    return "".join(part.capitalize() for part in group.removesuffix(".k8s.io").split("."))


def _parameter(name: str, where: str, type_: str, version: int) -> Item:
    found: Item = {"name": name, "in": where}
    if where == "path":
        found["required"] = True
    if version == 2:
        return {**found, "type": type_, "uniqueItems": True}
    return {**found, "schema": {"type": type_, "uniqueItems": True}}
