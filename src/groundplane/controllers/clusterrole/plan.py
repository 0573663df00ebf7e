"""The rules of an aggregated role. Pure. pkg/controller/clusterroleaggregation."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.client.contract import Object
from groundplane.client.objects import labels_of, name_of
from groundplane.kinds.selectors import from_object


def aggregated(role: Object, roles: Sequence[Object]) -> list[Object]:
    """Every rule once, in the order of selectors, and of role names within one."""
    found: list[Object] = []
    for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ():
        wanted = from_object(selector)
        for other in sorted(roles, key=name_of):
            if name_of(other) != name_of(role) and wanted.matches(labels_of(other)):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found
