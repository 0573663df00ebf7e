"""Authentication: a client certificate, else a bearer token, else nobody; then, perhaps, somebody else's name.

    certificate of our CA ──► CN is the user, O are the groups
    Authorization: Bearer ──► a service account's token (a token that is wrong is a 401, never "anonymous")
    neither               ──► system:anonymous in system:unauthenticated (--anonymous-auth)
    Impersonate-*         ──► each thing is authorized (verb impersonate) before it is believed

After k8s.io/apiserver/pkg/authentication and pkg/endpoints/filters/impersonation.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from groundplane.apiserver.access.authorizer import forbidden
from groundplane.apiserver.access.contract import (
    ACCOUNT_PREFIX,
    ACCOUNTS,
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    Attributes,
    Authorizer,
    CertificateSubject,
    Credentials,
    Identity,
    User,
)
from groundplane.apiserver.access.jws import BadToken
from groundplane.apiserver.access.tokens import Tokens
from groundplane.apiserver.statuses import internal, unauthorized
from groundplane.base.log import Log

NOBODY = User(ANONYMOUS, groups=(UNAUTHENTICATED,))
_CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
_AUTHENTICATION = "authentication.k8s.io"
_log = Log("apiserver.authn")


class Authenticator:
    """Turns credentials into an identity."""

    def __init__(self, tokens: Tokens, authorizer: Authorizer) -> None:
        self._tokens = tokens
        self._authorizer = authorizer
        self._by_certificate: dict[CertificateSubject, Identity] = {}

    async def authenticate(self, credentials: Credentials) -> Identity:
        """Who asks. Raises StatusError: 401 for a bad token, 403 for a name that may not be used."""
        identity = self._of_connection(credentials)
        if not credentials.impersonates:
            return identity
        return Identity(self._impersonated(identity.user, credentials), identity.actor)

    def _of_connection(self, credentials: Credentials) -> Identity:
        if credentials.certificate is not None and credentials.certificate.common_name:
            return self._of_certificate(credentials.certificate)
        scheme, _, token = credentials.authorization.strip().partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return Identity(NOBODY, NOBODY)
        try:
            user, _ = self._tokens.authenticate(token.strip())
        except BadToken as error:
            _log.debug("a bearer token was refused", error=str(error))
            raise unauthorized() from error
        user = authenticated(user)
        return Identity(user, user)

    def _of_certificate(self, subject: CertificateSubject) -> Identity:
        if (known := self._by_certificate.get(subject)) is not None:
            return known
        extra = {_CREDENTIAL_ID: (f"X509SHA256={subject.sha256}",)} if subject.sha256 else {}
        user = authenticated(User(subject.common_name, groups=subject.organizations, extra=extra))
        if len(self._by_certificate) >= 1024:
            self._by_certificate.clear()
        identity = self._by_certificate[subject] = Identity(user, user)
        return identity

    def _impersonated(self, actor: User, wanted: Credentials) -> User:
        """The user that `actor` may act as. Raises StatusError."""
        if not wanted.impersonate_user:
            asked = [a.name for a in _impersonations(actor, wanted)]
            raise internal(f"requested {asked} without impersonating a user")
        for attributes in _impersonations(actor, wanted):
            verdict = self._authorizer.authorize(attributes)
            if not verdict.allowed:
                raise forbidden(attributes, verdict)
        groups = list(wanted.impersonate_groups)
        if not groups and (account := _account(wanted.impersonate_user)):
            groups = [ACCOUNTS, f"{ACCOUNTS}:{account[0]}"]
        standing = AUTHENTICATED if wanted.impersonate_user != ANONYMOUS else UNAUTHENTICATED
        if AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
            groups.append(standing)
        return User(wanted.impersonate_user, wanted.impersonate_uid, tuple(groups), wanted.impersonate_extra)


def authenticated(user: User) -> User:
    """`user` in system:authenticated."""
    if AUTHENTICATED in user.groups or UNAUTHENTICATED in user.groups:
        return user
    return User(user.name, user.uid, (*user.groups, AUTHENTICATED), user.extra)


def _impersonations(actor: User, wanted: Credentials) -> Iterator[Attributes]:
    """What must be allowed, one question a header value."""
    if account := _account(wanted.impersonate_user):
        yield Attributes(actor, "impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
    elif wanted.impersonate_user:
        yield Attributes(actor, "impersonate", resource="users", name=wanted.impersonate_user)
    for group in wanted.impersonate_groups:
        yield Attributes(actor, "impersonate", resource="groups", name=group)
    for key, values in wanted.impersonate_extra.items():
        for value in values:
            yield Attributes(actor, "impersonate", _AUTHENTICATION, "v1", "userextras", key, name=value)
    if wanted.impersonate_uid:
        yield Attributes(actor, "impersonate", _AUTHENTICATION, "v1", "uids", name=wanted.impersonate_uid)


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of `system:serviceaccount:NAMESPACE:NAME`."""
    if not name.startswith(ACCOUNT_PREFIX):
        return None
    namespace, colon, account = name[len(ACCOUNT_PREFIX) :].partition(":")
    return (namespace, account) if namespace and colon and account and ":" not in account else None
