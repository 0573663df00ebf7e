"""Typed verbs over a Transport: a Status of failure becomes an ApiError, so that a loop only handles what it expects.

    client = Client(transport)
    pod = await client.pods.get("web", "default")
    await client.of(LEASES).update(replace_in(lease, ("spec", "renewTime"), now))

What comes back is shared with whoever else reads it, and is never changed in place (see `contract`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundplane.client import resources as r
from groundplane.client.contract import (
    APPLY_PATCH,
    MERGE_PATCH,
    ApiError,
    Object,
    Request,
    Stream,
    Transport,
    WatchEvent,
)
from groundplane.client.resources import Resource

Objects = list[Object]

PAGE = 500  # client-go's pager asks for as many at a time


class Client:
    """All resources of one cluster as one identity."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._known: dict[Resource, ResourceClient] = {}
        self.pods = self.of(r.PODS)
        self.nodes = self.of(r.NODES)
        self.namespaces = self.of(r.NAMESPACES)
        self.services = self.of(r.SERVICES)
        self.endpoints = self.of(r.ENDPOINTS)
        self.config_maps = self.of(r.CONFIG_MAPS)
        self.secrets = self.of(r.SECRETS)
        self.service_accounts = self.of(r.SERVICE_ACCOUNTS)
        self.events = self.of(r.EVENTS)
        self.deployments = self.of(r.DEPLOYMENTS)
        self.replica_sets = self.of(r.REPLICA_SETS)
        self.endpoint_slices = self.of(r.ENDPOINT_SLICES)
        self.leases = self.of(r.LEASES)

    def of(self, resource: Resource) -> ResourceClient:
        """The verbs of one resource."""
        if (found := self._known.get(resource)) is None:
            found = self._known[resource] = ResourceClient(self.transport, resource)
        return found

    def resource(
        self, group: str, version: str, plural: str, kind: str = "", *, namespaced: bool = True
    ) -> ResourceClient:
        """The verbs of a resource that is known only at run time."""
        return self.of(Resource(group, version, plural, kind, namespaced))

    async def raw(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """A call outside the resource scheme (`/version`, `/apis`). Raises ApiError, ConnectionLost."""
        return await call(self.transport, Request(method, path, query or {}, body))

    async def close(self) -> None:
        await self.transport.close()


class ResourceClient:
    """The verbs of one resource. Every method raises ApiError and ConnectionLost."""

    def __init__(self, transport: Transport, resource: Resource) -> None:
        self._transport = transport
        self.resource = resource

    async def get(self, name: str, namespace: str = "", subresource: str = "") -> Object:
        return await self._call("GET", self.resource.path(namespace, name, subresource))

    async def list(
        self,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        continue_: str = "",
        resource_version: str = "",
    ) -> Object:
        """One page, as the server's List object: `items`, `metadata.resourceVersion`, `metadata.continue`."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            limit=str(limit) if limit else "",
            resourceVersion=resource_version,
        )
        if continue_:
            query["continue"] = continue_
        return await self._call("GET", self.resource.path(namespace), query)

    async def list_all(
        self, namespace: str = "", *, label_selector: str = "", field_selector: str = "", page: int = PAGE
    ) -> tuple[Objects, str]:
        """All objects of one moment, page by page, and that moment's resourceVersion."""
        items: Objects = []
        token = ""
        while True:
            answer = await self.list(
                namespace, label_selector=label_selector, field_selector=field_selector, limit=page, continue_=token
            )
            items.extend(answer.get("items") or ())
            meta = answer.get("metadata") or {}
            token = meta.get("continue") or ""
            if not token:
                return items, str(meta.get("resourceVersion") or "")

    async def create(
        self, body: Object, namespace: str = "", *, name: str = "", subresource: str = "", field_manager: str = ""
    ) -> Object:
        """POST to the collection, or with `name` and `subresource` to a subresource (binding, eviction, token)."""
        path = self.resource.path(namespace or _namespace(body), name, subresource)
        return await self._call("POST", path, _query(fieldManager=field_manager), body)

    async def update(self, body: Object, *, subresource: str = "", field_manager: str = "") -> Object:
        """PUT; the object's resourceVersion is compared, a Conflict is an ApiError with `is_conflict`."""
        meta = body["metadata"]
        path = self.resource.path(meta.get("namespace") or "", meta["name"], subresource)
        return await self._call("PUT", path, _query(fieldManager=field_manager), body)

    async def update_status(self, body: Object, *, field_manager: str = "") -> Object:
        return await self.update(body, subresource="status", field_manager=field_manager)

    async def patch(
        self,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        type: str = MERGE_PATCH,
        subresource: str = "",
        field_manager: str = "",
    ) -> Object:
        """PATCH with `type` one of the contract's media types."""
        path = self.resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, _query(fieldManager=field_manager), body, type)

    async def apply(self, body: Object, *, field_manager: str, force: bool = False, subresource: str = "") -> Object:
        """Server-side apply of what `field_manager` wants to own."""
        meta = body["metadata"]
        path = self.resource.path(meta.get("namespace") or "", meta["name"], subresource)
        query = _query(fieldManager=field_manager, force="true" if force else "")
        return await self._call("PATCH", path, query, body, APPLY_PATCH)

    async def delete(
        self,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "",
        grace_period: int | None = None,
    ) -> Object:
        """DELETE; `uid` and `resource_version` are preconditions, `propagation` is Background, Foreground or Orphan."""
        return await self._call(
            "DELETE",
            self.resource.path(namespace, name),
            body=_delete_options(uid, resource_version, propagation, grace_period),
        )

    async def delete_collection(
        self, namespace: str = "", *, label_selector: str = "", field_selector: str = "", propagation: str = ""
    ) -> Object:
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        return await self._call(
            "DELETE", self.resource.path(namespace), query, _delete_options("", "", propagation, None)
        )

    def watch(
        self,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        bookmarks: bool = True,
        timeout_seconds: int = 0,
    ) -> Stream[WatchEvent]:
        """Changes from `resource_version` on. Close the iterator (`aclose`) to stop."""
        query = _query(
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            allowWatchBookmarks="true" if bookmarks else "",
            timeoutSeconds=str(timeout_seconds) if timeout_seconds else "",
        )
        return self._transport.watch(self.resource.path(namespace), query)

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None, content_type: str = ""
    ) -> Object:
        if content_type:
            request = Request(method, path, query or {}, body, content_type)
        else:
            request = Request(method, path, query or {}, body)
        answer: Object = await call(self._transport, request)
        return answer


async def call(transport: Transport, request: Request) -> Any:
    """One call's decoded body. Raises ApiError where the status is not 2xx."""
    response = await transport.send(request)
    if response.status >= 400:
        raise ApiError(_status(response.status, response.body))
    return response.body


def _status(code: int, body: Any) -> Object:
    """The answer as a metav1.Status also where a proxy in between answered with something else."""
    if isinstance(body, dict) and body.get("kind") == "Status":
        return body
    return {"kind": "Status", "status": "Failure", "code": code, "message": str(body)[:500]}


def _query(**words: str) -> dict[str, str]:
    return {key: value for key, value in words.items() if value}


def _namespace(body: Object) -> str:
    return str((body.get("metadata") or {}).get("namespace") or "")


def _delete_options(uid: str, resource_version: str, propagation: str, grace_period: int | None) -> Object | None:
    options: Object = {}
    if uid or resource_version:
        options["preconditions"] = _query(uid=uid, resourceVersion=resource_version)
    if propagation:
        options["propagationPolicy"] = propagation
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    return {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None
