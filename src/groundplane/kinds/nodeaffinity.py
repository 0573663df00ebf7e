"""Node selectors: `spec.nodeSelector` and required or preferred node affinity, matched against a node.

k8s.io/component-helpers/scheduling/corev1/nodeaffinity. Terms are alternatives, the expressions of one term all hold;
a term without expressions matches nothing; a missing selector matches every node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groundplane.kinds.selectors import Requirement

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


class Term:
    """One nodeSelectorTerm, read once, matched often."""

    __slots__ = ("_fields", "_labels")

    def __init__(self, term: Mapping[str, Any]) -> None:
        self._labels = [_requirement(each) for each in term.get("matchExpressions") or ()]
        self._fields = [_requirement(each) for each in term.get("matchFields") or ()]

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        if not self._labels and not self._fields:
            return False
        if not all(each.matches(labels) for each in self._labels):
            return False
        return all(each.matches({"metadata.name": name}) for each in self._fields)


class Required:
    """What a pod requires of its node: nodeSelector and requiredDuringSchedulingIgnoredDuringExecution."""

    __slots__ = ("_selector", "_terms")

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._selector: Mapping[str, str] = spec.get("nodeSelector") or {}
        affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        terms: Sequence[Mapping[str, Any]] | None = None if required is None else required.get("nodeSelectorTerms")
        self._terms = None if required is None else [Term(term) for term in terms or ()]

    @property
    def is_empty(self) -> bool:
        return not self._selector and self._terms is None

    def matches(self, name: str, labels: Mapping[str, str]) -> bool:
        if any(labels.get(key) != value for key, value in self._selector.items()):
            return False
        return self._terms is None or any(term.matches(name, labels) for term in self._terms)


def preferred(spec: Mapping[str, Any]) -> list[tuple[int, Term]]:
    """(weight, term) of preferredDuringSchedulingIgnoredDuringExecution. An empty term adds nothing."""
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    entries = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return [(int(each["weight"]), Term(each.get("preference") or {})) for each in entries]


def _requirement(expression: Mapping[str, Any]) -> Requirement:
    return Requirement(expression["key"], _OPERATORS[expression["operator"]], tuple(expression.get("values") or ()))
