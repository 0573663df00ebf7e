"""Who may use the kubelet's API: nothing is decided here, the API server is asked (delegated access).

certificate of the cluster's CA ─┐
bearer token ──TokenReview───────┴─► user ──SubjectAccessReview nodes/SUBRESOURCE──► yes or no

pkg/kubelet/server/auth.go; answers are kept as long as upstream's kubelet keeps them by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from groundplane.base.clock import Clock
from groundplane.client import resources
from groundplane.client.client import Client

_TOKEN_SECONDS = 120.0
_ALLOWED_SECONDS, _REFUSED_SECONDS = 300.0, 30.0
_KEPT = 1000
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# KEP-2862: these paths have subresources of their own, and nodes/proxy, which includes them.
_FINE = {"healthz": "healthz", "pods": "pods", "runningpods": "pods", "configz": "configz"}
_COARSE = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()


def subresources(path: str) -> tuple[str, ...]:
    """Of nodes: each of these suffices for the path."""
    first = path.strip("/").partition("/")[0]
    if first in _COARSE:
        return (_COARSE[first],)
    return (_FINE[first], "proxy") if first in _FINE else ("proxy",)


class Access:
    """Asks the API server of `client` on behalf of the node `name`."""

    def __init__(self, client: Client, name: str, clock: Clock) -> None:
        self._client = client
        self._name = name
        self._clock = clock
        self._known: dict[tuple[Any, ...], tuple[float, Any]] = {}

    async def user_of(self, token: str) -> User | None:
        """Whose token it is; None where it is nobody's. Raises ApiError, ConnectionLost."""
        key = ("token", token)
        if (kept := self._kept(key)) is not None:
            return kept[0]  # type: ignore[no-any-return]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status = (await self._client.of(resources.TOKEN_REVIEWS).create(review)).get("status") or {}
        user = None
        if status.get("authenticated"):
            told = status.get("user") or {}
            user = User(str(told.get("username")), str(told.get("uid") or ""), tuple(told.get("groups") or ()))
        self._keep(key, user, _TOKEN_SECONDS)
        return user

    async def may(self, user: User, method: str, path: str) -> bool:
        """Whether the user may. Raises ApiError, ConnectionLost."""
        for subresource in subresources(path):
            if await self._reviewed(user, _VERBS.get(method, method.lower()), subresource):
                return True
        return False

    async def _reviewed(self, user: User, verb: str, subresource: str) -> bool:
        key = ("may", user, verb, subresource)
        if (kept := self._kept(key)) is not None:
            return bool(kept[0])
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._name,
        }
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), "resourceAttributes": attributes}
        if user.uid:
            spec["uid"] = user.uid
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = (await self._client.of(resources.SUBJECT_ACCESS_REVIEWS).create(review)).get("status") or {}
        allowed = bool(status.get("allowed"))
        self._keep(key, allowed, _ALLOWED_SECONDS if allowed else _REFUSED_SECONDS)
        return allowed

    def _kept(self, key: tuple[Any, ...]) -> tuple[Any] | None:
        found = self._known.get(key)
        return (found[1],) if found is not None and found[0] > self._clock.monotonic() else None

    def _keep(self, key: tuple[Any, ...], value: Any, seconds: float) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()  # nobody honest asks so many things: not worth an order of eviction
        self._known[key] = (self._clock.monotonic() + seconds, value)
