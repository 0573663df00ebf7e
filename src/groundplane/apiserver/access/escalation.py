"""Nobody grants what he does not hold (kubernetes/pkg/registry/rbac/…/policybased, pkg/registry/rbac/validation).

Checked when a role is written (verb `escalate` waives it) and when a binding is (verb `bind` on the role waives it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from groundplane.apiserver.access.contract import MASTERS, Attributes, Authorizer, Object, PolicyRule, User
from groundplane.apiserver.access.rbac import GROUP, Rbac
from groundplane.apiserver.statuses import StatusError, forbidden

_FULL = (
    PolicyRule(verbs=("*",), groups=("*",), resources=("*",)),
    PolicyRule(verbs=("*",), urls=("*",)),
)
_PLURALS = {"ClusterRole": "clusterroles", "Role": "roles"}


class Escalation:
    """The check of one server."""

    def __init__(self, rbac: Rbac, authorizer: Authorizer) -> None:
        self._rbac = rbac
        self._authorizer = authorizer

    def check(self, user: User, resource: str, request_name: str, obj: Object, old: Object | None) -> None:
        """Before a role or binding is written. Raises StatusError (403; 404 where a bound role does not exist).

        `resource` is the plural; `request_name` the name in the path, empty for a creation; `old` what is replaced.
        """
        if MASTERS in user.groups or (old is not None and _same_but_for_collection(obj, old)):
            return
        if resource in ("roles", "clusterroles"):
            self._check_role(user, resource, request_name, obj, old)
        else:
            self._check_binding(user, resource, obj)

    def _check_role(self, user: User, resource: str, request_name: str, obj: Object, old: Object | None) -> None:
        namespace = obj["metadata"].get("namespace") or ""
        asked = Attributes(user, "escalate", GROUP, "*", resource, namespace=namespace, name=request_name)
        if self._authorizer.authorize(asked).allowed:
            return
        name = obj["metadata"].get("name") or ""
        aggregates = any((each or {}).get("aggregationRule") is not None for each in (obj, old))
        if aggregates and self._missing(user, "", _FULL):
            why = "must have cluster-admin privileges to use the aggregationRule"
            raise forbidden(GROUP, resource, name, why)
        self._confirm(user, namespace, resource, name, [PolicyRule.read(r) for r in obj.get("rules") or ()])

    def _check_binding(self, user: User, resource: str, obj: Object) -> None:
        namespace = obj["metadata"].get("namespace") or ""
        ref = obj["roleRef"]
        plural = _PLURALS.get(ref["kind"], "")
        asked = Attributes(
            user, "bind", ref.get("apiGroup") or GROUP, "*", plural, namespace=namespace, name=ref["name"]
        )
        if self._authorizer.authorize(asked).allowed:
            return
        rules = self._rbac.rules_of_role(ref["kind"], namespace, ref["name"])
        if rules is None:
            kind = ref["kind"].lower()
            message = f'{kind}.{GROUP} "{ref["name"]}" not found'
            raise StatusError(404, "NotFound", message, {"name": ref["name"], "group": GROUP, "kind": kind})
        self._confirm(user, namespace, resource, obj["metadata"].get("name") or "", rules)

    def _confirm(self, user: User, namespace: str, resource: str, name: str, rules: Sequence[PolicyRule]) -> None:
        if missing := self._missing(user, namespace, rules):
            lines = "\n".join(sorted({_compact_string(r) for r in compact(missing)}))
            why = (
                f'user "{user.name}" (groups={_quoted(user.groups)}) is attempting to grant RBAC permissions '
                f"not currently held:\n{lines}"
            )
            if errors := self._rbac.rules_for(user, namespace)[1]:
                why += f"; resolution errors: [{', '.join(errors)}]"
            raise forbidden(GROUP, resource, name, why)

    def _missing(self, user: User, namespace: str, rules: Iterable[PolicyRule]) -> list[PolicyRule]:
        held, _ = self._rbac.rules_for(user, namespace)
        return [part for rule in rules for part in breakdown(rule) if not any(covers(own, part) for own in held)]


def breakdown(rule: PolicyRule) -> list[PolicyRule]:
    """A rule as rules of one verb, group, resource and name (or one URL) each."""
    parts = [
        PolicyRule((verb,), (group,), (resource,), (name,) if name else ())
        for group in rule.groups
        for resource in rule.resources
        for verb in rule.verbs
        for name in (rule.names or ("",))
    ]
    return parts + [PolicyRule((verb,), urls=(url,)) for url in rule.urls for verb in rule.verbs]


def covers(own: PolicyRule, part: PolicyRule) -> bool:
    """Whether `own` holds all that `part`, one part of a breakdown, grants."""
    if not _has(own.verbs, part.verbs[0]):
        return False
    if part.urls:
        url = part.urls[0]
        return any(u in ("*", url) or (u.endswith("*") and url.startswith(u.rstrip("*"))) for u in own.urls)
    if not _has(own.groups, part.groups[0]):
        return False
    if own.names and not (part.names and part.names[0] in own.names):
        return False
    resource = part.resources[0]
    _, slash, subresource = resource.partition("/")
    return _has(own.resources, resource) or bool(slash and f"*/{subresource}" in own.resources)


def compact(parts: Sequence[PolicyRule]) -> list[PolicyRule]:
    """Parts of one group, resource and name put together again, their verbs in order of appearance."""
    verbs: dict[PolicyRule, list[str]] = {}
    rest = []
    for part in parts:
        if part.urls:
            rest.append(part)
        else:
            key = PolicyRule((), part.groups, part.resources, part.names)
            verbs.setdefault(key, []).append(part.verbs[0])
    return rest + [PolicyRule(tuple(v), k.groups, k.resources, k.names) for k, v in verbs.items()]


def _has(words: tuple[str, ...], word: str) -> bool:
    return "*" in words or word in words


def _compact_string(rule: PolicyRule) -> str:
    parts = (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("NonResourceURLs", rule.urls),
        ("ResourceNames", rule.names),
        ("Verbs", rule.verbs),
    )
    return "{" + ", ".join(f"{key}:{_quoted(values)}" for key, values in parts if values) + "}"


def _quoted(words: Iterable[str]) -> str:
    """Go's %q of a slice of strings."""
    return "[" + " ".join(f'"{w}"' for w in words) + "]"


def _same_but_for_collection(obj: Object, old: Object) -> bool:
    """Only what the garbage collector writes is different (rbacregistry.IsOnlyMutatingGCFields)."""

    def rest(value: Object) -> Object:
        ignored = ("finalizers", "ownerReferences", "managedFields", "resourceVersion")
        return {**value, "metadata": {k: v for k, v in value["metadata"].items() if k not in ignored}}

    return rest(obj) == rest(old)
