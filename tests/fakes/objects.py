"""Objects in a dictionary: `access.contract.Objects` for tests, and short builders of what access control reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Object = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"


class FakeObjects:
    """Keyed by resource, namespace and name, as the server's cache is."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str, str], Object] = {}

    def add(self, resource: str, name: str, namespace: str = "", uid: str = "", **rest: Any) -> Object:
        meta = {"name": name, "uid": uid or f"uid-of-{name}"} | ({"namespace": namespace} if namespace else {})
        meta |= rest.pop("metadata", {})
        self._objects[resource, namespace, name] = {"metadata": meta, **rest}
        return self._objects[resource, namespace, name]

    def remove(self, resource: str, name: str, namespace: str = "") -> None:
        del self._objects[resource, namespace, name]

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        return self._objects.get((resource, namespace, name))

    def list(self, resource: str, namespace: str = "") -> Iterable[Object]:
        return [o for (r, n, _), o in self._objects.items() if r == resource and namespace in ("", n)]


def rule(verbs: str, resources: str = "", groups: str = "", names: str = "", urls: str = "") -> Object:
    """A PolicyRule from words parted by spaces; resources without groups are the core group's."""
    made: Object = {"verbs": verbs.split()}
    if resources:
        made |= {"apiGroups": groups.split() or [""], "resources": resources.split()}
    if names:
        made["resourceNames"] = names.split()
    if urls:
        made["nonResourceURLs"] = urls.split()
    return made


def role(name: str, *rules: Object, namespace: str = "") -> Object:
    kind = "Role" if namespace else "ClusterRole"
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": meta, "rules": list(rules)}


def binding(name: str, to: str, subjects: Sequence[str], namespace: str = "") -> Object:
    """`to` is `ClusterRole/NAME` or `Role/NAME`; a subject is `User/NAME`, `Group/NAME`, `ServiceAccount/NS/NAME`."""
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    role_kind, _, role_name = to.partition("/")
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": kind,
        "metadata": meta,
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": role_name},
        "subjects": [_subject(s) for s in subjects],
    }


def _subject(text: str) -> Object:
    kind, *rest = text.split("/")
    if kind == "ServiceAccount":
        named: Object = {"kind": kind, "name": rest[-1]}
        return named | ({"namespace": rest[0]} if len(rest) == 2 else {})
    return {"kind": kind, "apiGroup": RBAC, "name": rest[0]}
