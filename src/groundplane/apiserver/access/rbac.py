"""RBAC: roles and bindings as an index by subject, asked once a request (kubernetes/plugin/pkg/auth/authorizer/rbac).

    put(RoleBinding) ─► scope (namespace, "" for the cluster) ─► subject ("User", "jane") ─► Grant (binding, role)
    authorize        ─► the user's name and groups in two scopes ─► rules of each role ─► the first that matches

Bindings are found by who asks, not one by one, so that thousands of bindings of others cost nothing. Answers are
remembered until a role or binding changes: a loop that asks the same thing again and again asks a dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from groundplane.apiserver.access.contract import (
    ACCOUNT_PREFIX,
    NO_OPINION,
    Attributes,
    Decision,
    Object,
    PolicyRule,
    User,
    Verdict,
)

GROUP = "rbac.authorization.k8s.io"
_REMEMBERED = 8192

_Subject = tuple[str, str]
_Role = tuple[str, str]  # namespace ("" for a ClusterRole) and name


@dataclass(frozen=True, slots=True)
class Grant:
    """One binding as it concerns one subject."""

    binding: tuple[str, str, str]  # kind, namespace, name
    role_kind: str
    role_name: str
    subject: str  # as upstream describes it: User "jane"

    @property
    def role(self) -> _Role:
        return (self.binding[1] if self.role_kind == "Role" else "", self.role_name)

    def __str__(self) -> str:
        kind, namespace, name = self.binding
        shown = f"{name}/{namespace}" if kind == "RoleBinding" else name
        return f'{kind} "{shown}" of {self.role_kind} "{self.role_name}" to {self.subject}'


class Rbac:
    """All roles and bindings. `put` and `remove` follow the store; questions never wait."""

    def __init__(self) -> None:
        self._roles: dict[_Role, tuple[PolicyRule, ...]] = {}
        self._grants: dict[str, dict[_Subject, dict[str, Grant]]] = {}  # scope, subject, binding's name
        self._subjects: dict[tuple[str, str], list[_Subject]] = {}  # scope and name of a binding: whom it names
        self._answers: dict[tuple[object, ...], Verdict] = {}

    def put(self, obj: Object) -> None:
        """Take in a Role, ClusterRole, RoleBinding or ClusterRoleBinding, new or changed."""
        self._answers.clear()
        meta = obj["metadata"]
        place = (meta.get("namespace") or "", meta["name"])
        if obj["kind"] in ("Role", "ClusterRole"):
            self._roles[place] = tuple(PolicyRule.read(r) for r in obj.get("rules") or ())
        else:
            self._unbind(place)
            self._bind(obj, *place)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Forget one of them."""
        self._answers.clear()
        if kind in ("Role", "ClusterRole"):
            self._roles.pop((namespace, name), None)
        else:
            self._unbind((namespace, name))

    def authorize(self, attributes: Attributes) -> Verdict:
        a = attributes
        key = (a.user.name, a.user.groups, a.verb, a.group, a.whole_resource, a.namespace, a.name, a.path)
        if (answer := self._answers.get(key)) is None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            answer = self._answers[key] = self._decide(a)
        return answer

    def rules_for(self, user: User, namespace: str) -> tuple[list[PolicyRule], list[str]]:
        """Every rule that holds for `user` in `namespace` (empty: cluster-wide ones only), and the missing roles."""
        rules: list[PolicyRule] = []
        errors: list[str] = []
        for grant in self._grants_of(user, namespace):
            found = self._roles.get(grant.role)
            if found is None:
                errors.append(_missing(grant.role_kind, grant.role_name))
            else:
                rules.extend(found)
        return rules, errors

    def rules_of_role(self, kind: str, namespace: str, name: str) -> tuple[PolicyRule, ...] | None:
        """A role's rules, None where it does not exist."""
        return self._roles.get((namespace if kind == "Role" else "", name))

    def _decide(self, attributes: Attributes) -> Verdict:
        errors: list[str] = []
        for grant in self._grants_of(attributes.user, attributes.namespace if attributes.is_resource else ""):
            rules = self._roles.get(grant.role)
            if rules is None:
                errors.append(_missing(grant.role_kind, grant.role_name))
            elif any(allows(rule, attributes) for rule in rules):
                return Verdict(Decision.ALLOW, f"RBAC: allowed by {grant}")
        if not errors:
            return NO_OPINION
        told = list(dict.fromkeys(errors))
        return Verdict(Decision.NO_OPINION, f"RBAC: {told[0] if len(told) == 1 else '[' + ', '.join(told) + ']'}")

    def _grants_of(self, user: User, namespace: str) -> Iterator[Grant]:
        subjects = [("User", user.name), *(("Group", g) for g in user.groups)]
        for scope in ("", namespace) if namespace else ("",):
            by_subject = self._grants.get(scope)
            if by_subject:
                for subject in subjects:
                    yield from by_subject.get(subject, {}).values()

    def _bind(self, obj: Object, namespace: str, name: str) -> None:
        ref = obj["roleRef"]
        by_subject = self._grants.setdefault(namespace, {})
        subjects = self._subjects[namespace, name] = []
        for subject in obj.get("subjects") or ():
            key, shown = _subject(subject, namespace)
            if key is None:
                continue
            grant = Grant((obj["kind"], namespace, name), ref["kind"], ref["name"], shown)
            by_subject.setdefault(key, {})[name] = grant
            subjects.append(key)

    def _unbind(self, place: tuple[str, str]) -> None:
        namespace, name = place
        by_subject = self._grants.get(namespace, {})
        for subject in self._subjects.pop(place, ()):
            grants = by_subject.get(subject, {})
            grants.pop(name, None)
            if not grants:
                by_subject.pop(subject, None)
        if not by_subject:
            self._grants.pop(namespace, None)


def _subject(subject: Object, namespace: str) -> tuple[_Subject | None, str]:
    """The index key of a binding's subject, and upstream's description of it."""
    kind, name = subject["kind"], subject["name"]
    if kind != "ServiceAccount":
        return (kind, name) if kind in ("User", "Group") else None, f'{kind} "{name}"'
    home = subject.get("namespace") or namespace
    shown = f'{kind} "{name}/{home}"'
    return (("User", f"{ACCOUNT_PREFIX}{home}:{name}") if home else None), shown


def _missing(kind: str, name: str) -> str:
    return f'{kind.lower()}.{GROUP} "{name}" not found'


def allows(rule: PolicyRule, attributes: Attributes) -> bool:
    """Whether one rule covers one request (rbac.RuleAllows)."""
    if "*" not in rule.verbs and attributes.verb not in rule.verbs:
        return False
    if not attributes.is_resource:
        return any(_url_matches(url, attributes.path) for url in rule.urls)
    if "*" not in rule.groups and attributes.group not in rule.groups:
        return False
    if rule.names and attributes.name not in rule.names:
        return False
    return (
        "*" in rule.resources
        or attributes.whole_resource in rule.resources
        or bool(attributes.subresource and f"*/{attributes.subresource}" in rule.resources)
    )


def _url_matches(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))
