"""The order of authorizers, and the refusal's sentence: system:masters, then Node, then RBAC (--authorization-mode)."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.apiserver.access.contract import MASTERS, NO_OPINION, Attributes, Authorizer, Decision, Verdict
from groundplane.apiserver.statuses import StatusError
from groundplane.apiserver.statuses import forbidden as forbidden_status

_ALLOWED = Verdict(Decision.ALLOW)


class Superuser:
    """system:masters may do everything, whatever RBAC says (authorizerfactory.NewPrivilegedGroups)."""

    def authorize(self, attributes: Attributes) -> Verdict:
        return _ALLOWED if MASTERS in attributes.user.groups else NO_OPINION


class Union:
    """The first opinion counts; where nobody has one, all that was said is the reason (authorizer/union)."""

    def __init__(self, authorizers: Sequence[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def authorize(self, attributes: Attributes) -> Verdict:
        reasons = []
        for authorizer in self._authorizers:
            verdict = authorizer.authorize(attributes)
            if verdict.decision is not Decision.NO_OPINION:
                return verdict
            if verdict.reason:
                reasons.append(verdict.reason)
        return Verdict(Decision.NO_OPINION, "\n".join(reasons)) if reasons else NO_OPINION


def forbidden(attributes: Attributes, verdict: Verdict) -> StatusError:
    """The 403 of a request that nobody allows (responsewriters.Forbidden)."""
    why = refusal(attributes)
    if verdict.reason:
        why = f"{why}: {verdict.reason}"
    if not attributes.is_resource:
        return forbidden_status("", "", "", why)
    return forbidden_status(attributes.group, attributes.resource, attributes.name, why)


def refusal(attributes: Attributes) -> str:
    """`User "jane" cannot list resource "pods" in API group "" in the namespace "x"`."""
    who = f'User "{attributes.user.name}" cannot {attributes.verb}'
    if not attributes.is_resource:
        return f'{who} path "{attributes.path}"'
    what = f'{who} resource "{attributes.whole_resource}" in API group "{attributes.group}"'
    if attributes.namespace:
        return f'{what} in the namespace "{attributes.namespace}"'
    return f"{what} at the cluster scope"
