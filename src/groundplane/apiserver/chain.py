"""One request from identity to answer: authorize, find the endpoint, carry out the verb.

    Call (user known) ──► authorize ──► dispatch ──► verb ──► Answer
                              │             │          │
                              └── StatusError of any of them is the answer

Authentication happened before (`http.py`: credentials, `local.py`: a fixed identity); nothing here knows which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.access.authorizer import forbidden
from groundplane.apiserver.access.contract import Attributes
from groundplane.apiserver.call import Answer, Call
from groundplane.apiserver.nonresource import NoSuchPage, Pages
from groundplane.apiserver.request import Target
from groundplane.apiserver.subresources.registry import SUBRESOURCES
from groundplane.apiserver.verbs.create import create
from groundplane.apiserver.verbs.delete import delete
from groundplane.apiserver.verbs.deletecollection import deletecollection
from groundplane.apiserver.verbs.get import get
from groundplane.apiserver.verbs.list import list_
from groundplane.apiserver.verbs.patch import patch
from groundplane.apiserver.verbs.update import update
from groundplane.apiserver.verbs.watch import watch
from groundplane.apiserver.virtual import VIRTUAL_VERBS
from groundplane.base.log import Log
from groundplane.kinds import selectors

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

_log = Log("apiserver")

Verb = Callable[["Machine", "Endpoint", Call], Awaitable[Answer]]

VERBS: dict[str, Verb] = {
    "get": get,
    "list": list_,
    "watch": watch,
    "create": create,
    "update": update,
    "patch": patch,
    "delete": delete,
    "deletecollection": deletecollection,
}


# Said with every answer about them (k8s.io/apiserver/pkg/endpoints/deprecation).
DEPRECATED = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}

# These need a name in the path; the others must not have one (`watch` may: the deprecated /watch/… form).
_OF_ONE = frozenset({"get", "update", "patch", "delete"})
_RUNNING = frozenset({"exec", "attach", "portforward"})
_SELECTING = frozenset({"list", "watch", "deletecollection"})


class Handler:
    """The server's one entry: every transport calls `serve` with a Call whose user is known."""

    def __init__(self, machine: Machine, pages: Pages) -> None:
        self._machine = machine
        self._pages = pages

    async def serve(self, call: Call) -> Answer:
        """Carry out one call. Raises StatusError, and nothing else that is foreseen."""
        self.authorize(call)
        if not call.target.is_resource:
            return await self._pages.serve(call)
        endpoint, verb = self._find(call)
        reads = call.verb in ("get", "list", "watch") and not call.target.subresource
        await self._machine.cache.catch_up(call.query.get("resourceVersion", "") if reads else "")
        return await verb(self._machine, endpoint, call)

    def authorize(self, call: Call) -> None:
        """Raises Forbidden."""
        self._authorize(call, call.verb)
        # A websocket is opened with GET, but runs something: whoever may only look may not (Kubernetes ≥1.35,
        # AuthorizePodWebsocketUpgradeCreatePermission).
        if call.verb == "get" and call.target.resource == "pods" and call.target.subresource in _RUNNING:
            self._authorize(call, "create")

    def _authorize(self, call: Call, verb: str) -> None:
        target = call.target
        if not target.is_resource:
            attributes = Attributes(call.user, verb, path=target.path)
        else:
            name = target.name
            fields: tuple[tuple[str, str, str], ...] = ()
            if not name and verb in _SELECTING and (text := call.query.get("fieldSelector")):
                name, fields = _selected(text, verb)
            attributes = Attributes(
                call.user, verb, target.group, target.version, target.resource, target.subresource,
                target.namespace, name, target.path, fields,
            )  # fmt: skip
        verdict = self._machine.authorizer.authorize(attributes)
        if not verdict.allowed:
            raise forbidden(attributes, verdict)

    def _find(self, call: Call) -> tuple[Endpoint, Verb]:
        target = call.target
        endpoint = self._machine.registry.find(target.group, target.version, target.resource)
        if endpoint is None or not _fits(endpoint, target):
            if not self._machine.registry.has_group(target.group):
                raise NoSuchPage
            raise statuses.no_such_resource()
        verb = _verb(endpoint, target, call.verb)
        if verb is None:
            raise statuses.method_not_allowed()
        if (warning := DEPRECATED.get((target.group, target.version, target.resource))) is not None:
            call.warn(warning)
        return endpoint, verb


def _fits(endpoint: Endpoint, target: Target) -> bool:
    """The path's scope is one that the resource has."""
    if target.subresource and target.subresource not in endpoint.resource.subresources:
        return False
    if not endpoint.resource.namespaced:
        return not target.namespace or target.resource == "namespaces"
    return bool(target.namespace) or not target.name or target.verb == "watch"


def _verb(endpoint: Endpoint, target: Target, word: str) -> Verb | None:
    resource = endpoint.resource
    if target.subresource:
        offered = resource.subresources[target.subresource].verbs
        special = SUBRESOURCES.get((resource.group, resource.plural, target.subresource)) or SUBRESOURCES.get(
            ("*", "*", target.subresource)
        )
        found = (special or {}).get(word)
        return found if found is not None and (word in offered or word in ("create", "get")) else None
    if word not in resource.verbs or (word != "watch" and bool(target.name) != (word in _OF_ONE)):
        return None
    if resource.namespaced and not target.namespace and word not in ("list", "watch"):
        return None  # across namespaces there is only looking
    virtual = VIRTUAL_VERBS.get((resource.group, resource.plural))
    return virtual.get(word) if virtual is not None else VERBS[word]


def _selected(text: str, verb: str) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    """The one name that a field selector allows, and its terms, for authorization (requestinfo.go).

    A name is not what is asked for where a collection is deleted, and a creation has no selector at all.
    """
    try:
        selector = selectors.parse_fields(text)
    except selectors.SelectorError:
        return "", ()
    fields = tuple((r.path, "!=" if r.negated else "=", r.value) for r in selector.requirements)
    name = "" if verb == "deletecollection" else selector.required("metadata.name")
    return name or "", fields
