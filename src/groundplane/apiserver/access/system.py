"""Access control as a whole: its parts made in their order, and kept up to date from the server's objects.

objects of the cache ──► follow(old, new) ──► Rbac, NodeAuthorizer       (indices)
                     ──► Objects.get      ──► Tokens                     (bound objects, at each use)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from groundplane.apiserver.access.authn import Authenticator
from groundplane.apiserver.access.authorizer import Superuser, Union
from groundplane.apiserver.access.contract import Authorizer, Object, Objects, PolicyRule, RuleResolver, User
from groundplane.apiserver.access.escalation import Escalation
from groundplane.apiserver.access.jws import Key
from groundplane.apiserver.access.node import NodeAuthorizer
from groundplane.apiserver.access.rbac import Rbac
from groundplane.apiserver.access.reviews import Reviews
from groundplane.apiserver.access.tokens import Tokens
from groundplane.base.clock import Clock

FOLLOWED = (
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("", "pods"),
)
"""Group and plural of the resources whose every object, and every change of one, must be told to `Access`."""


@dataclass(frozen=True, slots=True)
class Access:
    """The parts that a server asks."""

    rbac: Rbac
    nodes: NodeAuthorizer
    authorizer: Authorizer
    rules: RuleResolver
    tokens: Tokens
    authenticator: Authenticator
    reviews: Reviews
    escalation: Escalation

    def put(self, obj: Object) -> None:
        """An object of a followed resource, new or changed."""
        if obj["kind"] == "Pod":
            self.nodes.put_pod(obj)
        else:
            self.rbac.put(obj)

    def remove(self, obj: Object) -> None:
        """An object of a followed resource that is gone, as it was."""
        meta = obj["metadata"]
        if obj["kind"] == "Pod":
            self.nodes.remove_pod(meta["namespace"], meta["name"])
        else:
            self.rbac.remove(obj["kind"], meta.get("namespace") or "", meta["name"])


def assemble(
    objects: Objects,
    clock: Clock,
    *,
    issuer: str,
    keys: Callable[[], Sequence[Key]],
    node_rules: Iterable[PolicyRule],
    audiences: Iterable[str] = (),
) -> Access:
    """Access control over `objects`.

    `issuer` names this cluster in its tokens (https://kubernetes.default.svc.cluster.local), `keys` reads their keys at
    the first need, `node_rules` are the rules of the ClusterRole system:node as delivered.
    """
    rbac = Rbac()
    nodes = NodeAuthorizer(node_rules)
    authorizer = Union([Superuser(), nodes, rbac])
    rules = _Rules(rbac, nodes)
    tokens = Tokens(issuer, keys, objects, clock, audiences)
    return Access(
        rbac,
        nodes,
        authorizer,
        rules,
        tokens,
        Authenticator(tokens, authorizer),
        Reviews(authorizer, rules, tokens),
        Escalation(rbac, authorizer),
    )


class _Rules:
    """All rules that hold for a user, and what cannot be told."""

    def __init__(self, rbac: Rbac, nodes: NodeAuthorizer) -> None:
        self._rbac = rbac
        self._nodes = nodes

    def rules_for(self, user: User, namespace: str) -> tuple[list[PolicyRule], list[str]]:
        rules, errors = self._rbac.rules_for(user, namespace)
        if unknown := self._nodes.rules_for(user):
            errors = [unknown, *errors]
        return rules, errors
