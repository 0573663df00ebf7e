"""Who controls an object: controller references, and their adoption and release.

pkg/controller/controller_ref_manager.go. A controller owns the objects that name it in a reference with
`controller: true`. It adopts those that match its selector and have no controller; it releases those it owns that no
longer match. A controller that is being deleted does neither.

`sort_out` decides, `Claims` writes. Before the first adoption the controller is read from the server, not from a cache,
because a deleted controller of the same name must not adopt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from groundplane.client.client import ResourceClient
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, Object
from groundplane.client.objects import is_deleting, name_of, namespace_of, owner_reference, uid_of


def controller_of(obj: Object) -> Object | None:
    """metav1.GetControllerOf: the owner reference with `controller: true`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            owner: Object = reference
            return owner
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == uid_of(owner)


@dataclass(frozen=True, slots=True)
class Sorted:
    """What one controller has to do with each candidate."""

    owned: list[Object]
    adopt: list[Object]
    release: list[Object]


def sort_out(owner: Object, matches: Callable[[Object], bool], candidates: Iterable[Object]) -> Sorted:
    """Candidates by their relation to `owner`; those that belong to others, or concern nobody, are in no list."""
    owned: list[Object] = []
    adopt: list[Object] = []
    release: list[Object] = []
    ending = is_deleting(owner)
    for candidate in candidates:
        if (reference := controller_of(candidate)) is not None:
            if reference.get("uid") != uid_of(owner):
                continue
            if matches(candidate):
                owned.append(candidate)
            elif not ending:
                release.append(candidate)
            continue
        near = namespace_of(candidate) == namespace_of(owner) or not namespace_of(owner)
        if near and not ending and matches(candidate) and not is_deleting(candidate):
            adopt.append(candidate)
    return Sorted(owned, adopt, release)


class Claims:
    """Carries out adoption and release for one kind of controller (`owners`) over one kind of object (`dependents`)."""

    def __init__(self, owners: ResourceClient, dependents: ResourceClient) -> None:
        self._owners = owners
        self._dependents = dependents

    async def claim(
        self, owner: Object, matches: Callable[[Object], bool], candidates: Iterable[Object]
    ) -> list[Object]:
        """What `owner` owns now, the newly adopted included. Raises ApiError, ConnectionLost."""
        found = sort_out(owner, matches, candidates)
        if not found.adopt and not found.release:
            return found.owned
        if found.adopt:
            await self._may_adopt(owner)
        work: list[Awaitable[Object | None]] = [self._adopt(owner, obj) for obj in found.adopt]
        work += [self._release(owner, obj) for obj in found.release]
        done = await asyncio.gather(*work)
        return found.owned + [obj for obj in done[: len(found.adopt)] if obj is not None]

    async def _may_adopt(self, owner: Object) -> None:
        fresh = await self._owners.get(name_of(owner), namespace_of(owner))
        kind = self._owners.resource.kind
        if uid_of(fresh) != uid_of(owner):
            raise _conflict(f"original {kind} {namespace_of(owner)}/{name_of(owner)} is gone: got uid {uid_of(fresh)}")
        if is_deleting(fresh):
            raise _conflict(f"{namespace_of(owner)}/{name_of(owner)} has just been deleted")

    async def _adopt(self, owner: Object, obj: Object) -> Object | None:
        reference = owner_reference(owner, self._owners.resource)
        body = {"metadata": {"uid": uid_of(obj), "ownerReferences": [reference]}}
        return await _patched(self._dependents, obj, body)

    async def _release(self, owner: Object, obj: Object) -> None:
        """A strategic patch that deletes our reference only; the uid guards against a new object of that name."""
        reference = {"$patch": "delete", "uid": uid_of(owner)}
        await _patched(self._dependents, obj, {"metadata": {"uid": uid_of(obj), "ownerReferences": [reference]}})


async def _patched(verbs: ResourceClient, obj: Object, body: Object) -> Object | None:
    """The patched object, or None where it is gone or another one now."""
    try:
        return await verbs.patch(name_of(obj), body, namespace_of(obj), type=STRATEGIC_PATCH)
    except ApiError as error:
        if error.is_not_found or error.code in (409, 422):
            return None
        raise


def _conflict(message: str) -> ApiError:
    return ApiError({"kind": "Status", "status": "Failure", "code": 409, "reason": "Conflict", "message": message})
