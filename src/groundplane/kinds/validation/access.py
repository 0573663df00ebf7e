"""RBAC objects, reviews and token requests."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import internal, names, selection
from groundplane.kinds.validation.errors import Errors, invalid, required, unsupported

Object = dict[str, Any]

_GROUP = "rbac.authorization.k8s.io"


def role(obj: Object) -> Errors:
    return _rules(obj, namespaced=True)


def cluster_role(obj: Object) -> Errors:
    errors = _rules(obj, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        path = "aggregationRule.clusterRoleSelectors"
        found = aggregation.get("clusterRoleSelectors") or ()
        if not found:
            text = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required(path, text))
        for index, one in enumerate(found):
            errors += selection.label_selector(one, f"{path}[{index}]")
    return errors


def _rules(obj: Object, *, namespaced: bool) -> Errors:
    errors: Errors = []
    for index, rule in enumerate(obj.get("rules") or ()):
        errors += _rule(rule, f"rules[{index}]", namespaced=namespaced)
    return errors


def _rule(rule: Object, path: str, *, namespaced: bool) -> Errors:
    errors: Errors = []
    if not rule.get("verbs"):
        errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, text))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(invalid(f"{path}.nonResourceURLs", urls, text))
        return errors
    if not rule.get("apiGroups"):
        errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def role_binding(obj: Object) -> Errors:
    return _binding(obj, ("Role", "ClusterRole"), namespaced=True)


def cluster_role_binding(obj: Object) -> Errors:
    return _binding(obj, ("ClusterRole",), namespaced=False)


def _binding(obj: Object, kinds: tuple[str, ...], *, namespaced: bool) -> Errors:
    role_ref = obj["roleRef"]
    errors: Errors = []
    if role_ref.get("apiGroup") != _GROUP:
        errors.append(unsupported("roleRef.apiGroup", role_ref.get("apiGroup", ""), (_GROUP,)))
    if role_ref.get("kind") not in kinds:
        errors.append(unsupported("roleRef.kind", role_ref.get("kind", ""), kinds))
    name = role_ref.get("name", "")
    if not name:
        errors.append(required("roleRef.name"))
    else:
        errors += [invalid("roleRef.name", name, message) for message in names.path_segment(name)]
    for index, subject in enumerate(obj.get("subjects") or ()):
        errors += _subject(subject, f"subjects[{index}]", namespaced=namespaced)
    return errors


def _subject(subject: Object, path: str, *, namespaced: bool) -> Errors:
    errors: Errors = []
    name, kind, group = subject.get("name", ""), subject.get("kind", ""), subject.get("apiGroup", "")
    if not name:
        errors.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            errors += [invalid(f"{path}.name", name, message) for message in names.subdomain(name)]
        if group:
            errors.append(unsupported(f"{path}.apiGroup", group, ("",)))
        if not subject.get("namespace") and not namespaced:
            errors.append(required(f"{path}.namespace"))
    elif kind in ("User", "Group"):
        if group != _GROUP:
            errors.append(unsupported(f"{path}.apiGroup", group, (_GROUP,)))
    else:
        errors.append(unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group")))
    return errors


def role_binding_update(new: Object, old: Object) -> Errors:
    return role_binding(new) + _same_role(new, old)


def cluster_role_binding_update(new: Object, old: Object) -> Errors:
    return cluster_role_binding(new) + _same_role(new, old)


def _same_role(new: Object, old: Object) -> Errors:
    if new["roleRef"] == old["roleRef"]:
        return []
    return [invalid("roleRef", internal.shown("rbac.v1.RoleRef", new["roleRef"]), "cannot change roleRef")]
