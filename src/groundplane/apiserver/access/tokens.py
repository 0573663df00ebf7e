"""Service account tokens: issued by TokenRequest, checked at every use against the objects they are bound to.

After kubernetes/pkg/serviceaccount (claims.go, jwt.go) and pkg/registry/core/serviceaccount/storage/token.go. A token
dies with its service account, and with the pod, secret or node it is bound to: both name and uid must still be there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from groundplane.apiserver.access.contract import ACCOUNT_PREFIX, ACCOUNTS, Object, Objects, User
from groundplane.apiserver.access.jws import BadToken, Claims, Key, unverified, verify
from groundplane.apiserver.statuses import FieldCause, bad_request, conflict, invalid, not_found
from groundplane.base.clock import Clock, parse_rfc3339, rfc3339
from groundplane.base.ids import uuid4

_MIN_SECONDS = 10 * 60
_MAX_SECONDS = 1 << 32
_DEFAULT_SECONDS = 60 * 60
# token.go: a pod's projected token is asked for with 3607 s. Old clients never read it again, so it is good for a year,
# and `warnafter` says when it should have been renewed (--service-account-extend-token-expiration).
_WARN_ONLY = 3607
_EXTENDED = 365 * 24 * 3600
_LEEWAY = 60.0  # after the deletion of a bound object (claims.go), so that what ends can still report
_SKEW = 60.0  # by which the clocks of two servers may differ (go-jose, DefaultLeeway)
_REMEMBERED = 4096
_PRIVATE = "kubernetes.io"


class Tokens:
    """The issuer and the judge of one cluster's tokens."""

    def __init__(
        self,
        issuer: str,
        keys: Callable[[], Sequence[Key]],
        objects: Objects,
        clock: Clock,
        audiences: Iterable[str] = (),
    ) -> None:
        """`keys`, called once at the first need: the first signs, all verify. `audiences` default to the issuer."""
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self._read_keys = keys
        self._known_keys: list[Key] = []
        self._objects = objects
        self._clock = clock
        self._verified: OrderedDict[str, Claims] = OrderedDict()

    def _keys(self) -> list[Key]:
        if not self._known_keys:
            self._known_keys = list(self._read_keys())
        return self._known_keys

    def request(self, account: Object, review: Object) -> Object:
        """Answer a TokenRequest for a service account. Raises StatusError."""
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        spec = review.get("spec") or {}
        seconds = spec.get("expirationSeconds")
        seconds = _DEFAULT_SECONDS if seconds is None else seconds
        if cause := _bad_duration(seconds):
            raise invalid("authentication.k8s.io", "TokenRequest", "", [cause])
        bound = self._bound(namespace, account, spec.get("boundObjectRef"))
        audiences = spec.get("audiences") or list(self.audiences)
        now = int(self._clock.time())
        lives = seconds
        private: Claims = {"namespace": namespace, **bound, "serviceaccount": _identity(account)}
        if seconds == _WARN_ONLY and "pod" in bound and all(a in self.audiences for a in audiences):
            lives, private["warnafter"] = _EXTENDED, now + seconds
        claims = {
            "aud": audiences,
            "exp": now + lives,
            "iat": now,
            "iss": self.issuer,
            "jti": uuid4(),
            _PRIVATE: private,
            "nbf": now,
            "sub": f"{ACCOUNT_PREFIX}{namespace}:{name}",
        }
        token = self._keys()[0].sign(claims)
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": rfc3339(now)},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": rfc3339(now + seconds)},
        }

    def authenticate(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """Whose token it is, and for which of `audiences` (default: this server's) it is good. Raises BadToken."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
        asked = audiences or self.audiences
        claimed = claims.get("aud") or []
        claimed = [claimed] if isinstance(claimed, str) else claimed
        good = [a for a in asked if a in claimed]
        if not good:
            raise BadToken(f"token audiences {_go(claimed)} is invalid for the target audiences {_go(asked)}")
        return self._user(claims), good

    def is_ours(self, token: str) -> bool:
        """Whether a token claims our issuer (else another authenticator may know it)."""
        try:
            return bool(unverified(token).get("iss") == self.issuer)
        except BadToken:
            return False

    def discovery(self, base_url: str) -> Object:
        """/.well-known/openid-configuration (OpenID Connect Discovery 1.0), for others who check our tokens."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{base_url}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": sorted({k.algorithm for k in self._keys()}),
        }

    def jwks(self) -> Object:
        """/openid/v1/jwks"""
        return {"keys": [key.to_jwk() for key in self._keys()]}

    def _verify(self, token: str) -> Claims:
        claims = verify(token, self._keys())
        if claims.get("iss") != self.issuer:
            raise BadToken("token has another issuer")
        self._verified[token] = claims
        if len(self._verified) > _REMEMBERED:
            self._verified.popitem(last=False)
        return claims

    def _user(self, claims: Claims) -> User:
        """The claims against the clock and the objects, as they are now."""
        now = self._clock.time()
        if now > float(claims.get("exp") or 0) + _SKEW:
            raise BadToken("service account token has expired")
        if now < float(claims.get("nbf") or 0) - _SKEW:
            raise BadToken("service account token is not valid yet")
        private = claims.get(_PRIVATE) or {}
        namespace = private.get("namespace") or ""
        account = private.get("serviceaccount") or {}
        name = account.get("name") or ""
        self._alive("serviceaccounts", "service account", namespace, account)
        extra: dict[str, tuple[str, ...]] = {}
        if jti := claims.get("jti"):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={jti}",)
        if secret := private.get("secret"):
            self._alive("secrets", "service account secret", namespace, secret)
        if node := private.get("node"):
            if "pod" not in private:  # beside a pod the node is told, not required (ServiceAccountTokenPodNodeInfo)
                self._alive("nodes", "node", "", node)
            extra["authentication.kubernetes.io/node-name"] = (node.get("name") or "",)
            if uid := node.get("uid"):
                extra["authentication.kubernetes.io/node-uid"] = (uid,)
        if pod := private.get("pod"):
            self._alive("pods", "pod", namespace, pod)
            extra["authentication.kubernetes.io/pod-name"] = (pod["name"],)
            extra["authentication.kubernetes.io/pod-uid"] = (pod["uid"],)
        groups = (ACCOUNTS, f"{ACCOUNTS}:{namespace}")
        return User(f"{ACCOUNT_PREFIX}{namespace}:{name}", account.get("uid") or "", groups, extra)

    def _alive(self, resource: str, what: str, namespace: str, claimed: Any) -> None:
        if not isinstance(claimed, dict):
            raise BadToken(f"token has no {what}")
        found = self._objects.get(resource, namespace, claimed.get("name") or "")
        if found is None:
            raise BadToken("service account token has been invalidated")
        meta = found["metadata"]
        if claimed.get("uid") != meta.get("uid"):
            raise BadToken(f"{what} UID ({meta.get('uid')}) does not match claim ({claimed.get('uid')})")
        deleted = meta.get("deletionTimestamp")
        if deleted and parse_rfc3339(deleted) + _LEEWAY < self._clock.time():
            raise BadToken("service account token has been invalidated")

    def _bound(self, namespace: str, account: Object, ref: Object | None) -> Claims:
        """The claims of the object that a token is bound to. Raises StatusError."""
        if not ref:
            return {}
        kind, version, name = ref.get("kind") or "", ref.get("apiVersion") or "", ref.get("name") or ""
        resource = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}.get(kind)
        if resource is None or version != "v1":
            shown = version if "/" in version else f"/{version}"
            raise bad_request(f"cannot bind token to object of type {shown}, Kind={kind}")
        found = self._objects.get(resource, "" if kind == "Node" else namespace, name)
        if found is None:
            raise not_found("", resource, name)
        uid = found["metadata"].get("uid") or ""
        claims: Claims = {kind.lower(): {"name": name, "uid": uid}}
        if kind == "Pod":
            _check_account(found, account["metadata"]["name"])
            claims = self._node_of(found) | claims
        if ref.get("uid") and ref["uid"] != uid:
            why = (
                f"the UID in the bound object reference ({ref['uid']}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict("", kind, name, why)
        return claims

    def _node_of(self, pod: Object) -> Claims:
        name = (pod.get("spec") or {}).get("nodeName")
        if not name:
            return {}
        node = self._objects.get("nodes", "", name)
        return {"node": {"name": name, "uid": node["metadata"].get("uid")} if node else {"name": name}}


def _check_account(pod: Object, account: str) -> None:
    if (pod.get("spec") or {}).get("serviceAccountName") != account:
        raise bad_request(
            f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
        )


def _identity(obj: Object) -> Claims:
    return {"name": obj["metadata"]["name"], "uid": obj["metadata"].get("uid") or ""}


def _bad_duration(seconds: Any) -> FieldCause | None:
    field = "spec.expirationSeconds"
    if seconds < _MIN_SECONDS:
        why = f"Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        return FieldCause("FieldValueInvalid", field, why)
    if seconds > _MAX_SECONDS:
        why = f"Invalid value: {seconds}: may not specify a duration larger than 2^32 seconds"
        return FieldCause("FieldValueInvalid", field, why)
    return None


def _go(words: Iterable[str]) -> str:
    """Go's %q of a slice of strings."""
    return "[" + " ".join(f'"{w}"' for w in words) + "]"


__all__ = ["BadToken", "Tokens"]
