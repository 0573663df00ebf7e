"""The words of access control: a user, what a request wants, and a verdict.

    authn:  credentials ──► Identity        (401 where they are wrong; anonymous where there are none)
    authz:  Attributes  ──► Verdict         (the first authorizer that has an opinion decides; none: denied)

One request's path through `access`:

    identity = await authenticator.authenticate(credentials)    # raises StatusError 401, or 403 for impersonation
    attributes = Attributes(identity.user, verb, resource=…)    # the machinery fills this from the path
    verdict = authorizer.authorize(attributes)
    if verdict.decision is not Decision.ALLOW: raise forbidden(attributes, verdict)

Everything here is k8s.io/apiserver/pkg/authentication/user and pkg/authorization/authorizer in plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

Object = dict[str, Any]

ANONYMOUS = "system:anonymous"
UNAUTHENTICATED = "system:unauthenticated"
AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
NODES = "system:nodes"
NODE_PREFIX = "system:node:"
ACCOUNTS = "system:serviceaccounts"
ACCOUNT_PREFIX = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated name with its groups; `extra` is what the authenticator adds (a token's pod, say)."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The node whose identity this is, or an empty string (nodeidentifier.NewDefaultNodeIdentifier)."""
        if self.name.startswith(NODE_PREFIX) and NODES in self.groups:
            return self.name[len(NODE_PREFIX) :]
        return ""

    def to_object(self) -> Object:
        """authentication.k8s.io/v1 UserInfo, empty fields left out."""
        info: Object = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        if self.groups:
            info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in sorted(self.extra.items())}
        return info


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. `actor` is who authenticated, where `user` is impersonated; else they are the same."""

    user: User
    actor: User


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a connection and its headers show. `certificate` is the verified client certificate's subject, or None."""

    certificate: CertificateSubject | None = None
    authorization: str = ""  # the Authorization header
    impersonate_user: str = ""
    impersonate_uid: str = ""
    impersonate_groups: tuple[str, ...] = ()
    impersonate_extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def impersonates(self) -> bool:
        return bool(self.impersonate_user or self.impersonate_uid or self.impersonate_groups or self.impersonate_extra)


@dataclass(frozen=True, slots=True)
class CertificateSubject:
    """Common name and organizations of a certificate that our CA signed: user and groups."""

    common_name: str
    organizations: tuple[str, ...] = ()
    sha256: str = ""  # of the whole certificate, in hex: its credential id


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants: something of a `resource`, or, where that is empty, a `path`.

    `verb`: get list watch create update patch delete deletecollection, any word of a review, or the lower-case HTTP
    method of a non-resource path.
    """

    user: User
    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    fields: Sequence[tuple[str, str, str]] = ()  # field selector: (field, operator, value), operator `=` or `!=`

    @property
    def is_resource(self) -> bool:
        return bool(self.resource)

    @property
    def whole_resource(self) -> str:
        """`pods/log`, or the bare resource."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


class Decision(Enum):
    ALLOW = "allow"
    DENY = "deny"
    NO_OPINION = "no opinion"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` is upstream's sentence; `error` says what went wrong on the way (a role that is missing)."""

    decision: Decision
    reason: str = ""
    error: str = ""

    @property
    def allowed(self) -> bool:
        return self.decision is Decision.ALLOW


NO_OPINION = Verdict(Decision.NO_OPINION)


class Authorizer(Protocol):
    """A pure decision, made in memory: no waiting, no writing."""

    def authorize(self, attributes: Attributes) -> Verdict:
        """Whether it may be done; NO_OPINION passes the question on."""
        ...


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """rbac.authorization.k8s.io/v1 PolicyRule."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    @classmethod
    def read(cls, rule: Object) -> PolicyRule:
        def words(key: str) -> tuple[str, ...]:
            return tuple(rule.get(key) or ())

        return cls(
            words("verbs"), words("apiGroups"), words("resources"), words("resourceNames"), words("nonResourceURLs")
        )

    def to_object(self) -> Object:
        """As JSON, in upstream's order, empty lists left out (verbs are required)."""
        rule: Object = {"verbs": list(self.verbs)}
        for key, values in (
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.urls),
        ):
            if values:
                rule[key] = list(values)
        return rule


class RuleResolver(Protocol):
    """Who wants to know all that a user may do: rules reviews and the escalation check."""

    def rules_for(self, user: User, namespace: str) -> tuple[list[PolicyRule], list[str]]:
        """Every rule that holds for `user` in `namespace` (empty: cluster-wide ones only), and what went wrong."""
        ...


class Objects(Protocol):
    """The server's newest objects, as `access` needs them.

    `resource` is `group/plural`, in the core group the bare plural.
    """

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        """One object (shared: never changed), or None. `namespace` is empty for cluster-scoped resources."""
        ...

    def list(self, resource: str, namespace: str = "") -> Iterable[Object]:
        """All objects of a resource, in one namespace or in all."""
        ...
