"""The conditions of a namespace that is being deleted. Pure.

pkg/controller/namespace/deletion/status_condition_utils.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from groundplane.client.contract import Object
from groundplane.client.objects import condition, set_condition
from groundplane.client.resources import Resource

_GOOD = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}


@dataclass(slots=True)
class Left:
    """What one round of deletion left behind."""

    counts: Counter[str] = field(default_factory=Counter)  # objects by resource
    finalizers: Counter[str] = field(default_factory=Counter)  # objects by finalizer
    errors: list[str] = field(default_factory=list)
    discovery_error: str = ""

    def note(self, resource: Resource, objects: Iterable[Object]) -> None:
        for obj in objects:
            self.counts[f"{resource.plural}.{resource.group}"] += 1
            self.finalizers.update(obj["metadata"].get("finalizers") or ())

    @property
    def is_empty(self) -> bool:
        return not self.counts and not self.errors and not self.discovery_error


def conditions(old: Sequence[Object], left: Left, now: float) -> list[Object]:
    """All five, each True where something stands in the way."""
    bad: dict[str, tuple[str, str]] = {}
    if left.discovery_error:
        bad["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", left.discovery_error)
    if left.errors:
        text = f"Failed to delete all resource types, {len(left.errors)} remaining: {', '.join(sorted(left.errors))}"
        bad["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", text)
    if left.counts:
        listed = ", ".join(f"{what} has {count} resource instances" for what, count in sorted(left.counts.items()))
        bad["NamespaceContentRemaining"] = ("SomeResourcesRemain", f"Some resources are remaining: {listed}")
    if left.finalizers:
        listed = ", ".join(f"{what} in {count} resource instances" for what, count in sorted(left.finalizers.items()))
        text = f"Some content in the namespace has finalizers remaining: {listed}"
        bad["NamespaceFinalizersRemaining"] = ("SomeFinalizersRemain", text)
    result = list(old)
    for type, good in _GOOD.items():
        if type in bad:
            result = _put(result, condition(type, "True", *bad[type], now=now))
        else:
            result = _put(result, condition(type, "False", *good, now=now))
    return result


def _put(conditions: list[Object], new: Object) -> list[Object]:
    """As it was, where nothing but the moment differs."""
    for old in conditions:
        same = all(old.get(word) == new.get(word) for word in ("type", "status", "reason", "message"))
        if same:
            return conditions
    return set_condition(conditions, new)
