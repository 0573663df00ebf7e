"""The one path by which every create, update, patch and subresource write reaches the store.

    create   match namespace → admit (mutate) → own fields → name → prepare → validate → admit (validate) → store
    update   read → make the new object → admit → own fields → version → prepare → validate → admit → store
             ▲                                                                                        │ raced
             └────────────────────────────────────────────────────────────────────────────────────────┘

The order is upstream's (k8s.io/apiserver/pkg/registry/generic/registry/store.go, rest/create.go, rest/update.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.access.authorizer import forbidden
from groundplane.apiserver.access.contract import Attributes
from groundplane.apiserver.admission.contract import Attempt, Operation
from groundplane.apiserver.cache.stored import Object, Stored
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.storage.objects import Raced
from groundplane.base import jsonyaml
from groundplane.base.clock import rfc3339

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint

GENERATE_TRIES = 8  # registry/store.go, maxNameGenerationCreateAttempts
RACE_TRIES = (
    64  # an unconditional write meets at most this many others; upstream tries for as long as the request lasts
)

Owner = Callable[[Object | None, Object], Object]


@dataclass(frozen=True, slots=True)
class Change:
    """What an update is made of.

    `make` gives the new object from the old one (in the request's version). `own` sets managedFields. `subresource`
    names the strategy's view. `allow_create`: a missing object is created from `make(None)`.
    """

    name: str
    make: Callable[[Object | None], Object]
    own: Owner
    subresource: str = ""
    allow_create: bool = False


async def create(machine: Machine, endpoint: Endpoint, call: Call, obj: Object, own: Owner) -> One:
    """Create `obj` (defaulted, in the endpoint's version). Raises StatusError."""
    namespace = call.namespace if endpoint.resource.namespaced else ""
    obj = lifecycle.match_namespace(obj, namespace)
    name = obj["metadata"].get("name", "")
    attempt = Attempt(
        machine, call, Operation.CREATE, endpoint, call.target.subresource, namespace, name, endpoint.take(obj), None
    )
    obj = await machine.admission.mutate(attempt)
    obj = own(None, obj)
    for left in range(GENERATE_TRIES - 1, -1, -1):
        try:
            return await _create_named(machine, endpoint, replace(attempt, obj=obj), obj)
        except statuses.StatusError as error:
            generated = not obj["metadata"].get("name") and obj["metadata"].get("generateName")
            if error.reason != "AlreadyExists" or not generated:
                raise
            if not left:
                taken = (error.details or {}).get("name", "")
                raise statuses.name_not_generated(endpoint.resource.group, endpoint.resource.plural, taken) from None
    raise AssertionError("unreachable: the last try returns or raises")


async def _create_named(machine: Machine, endpoint: Endpoint, attempt: Attempt, obj: Object) -> One:
    call = attempt.call
    version = obj["metadata"].get("resourceVersion")
    obj = lifecycle.born(lifecycle.named(obj), machine.clock.time())
    endpoint.strategy.prepare_create(obj, rfc3339(machine.clock.time()))
    async with machine.allocations(endpoint, obj, None, dry_run=call.dry_run) as allocation:
        obj = allocation.obj
        if causes := endpoint.strategy.validate_create(obj):
            raise endpoint.invalid(obj, causes)
        for warning in endpoint.strategy.warnings(obj, None):
            call.warn(warning)
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        await machine.admission.validate(replace(attempt, obj=obj, name=name))
        if version:
            raise statuses.plain("resourceVersion should not be set on objects to be created")
        if call.dry_run:
            if endpoint.objects.find(namespace, name) is not None:
                raise statuses.already_exists(endpoint.resource.group, endpoint.resource.plural, name)
            return One(endpoint.show(obj), None, 201, endpoint)
        stored = await endpoint.objects.create(namespace, name, obj)
        allocation.keep()
    return One(None, stored, 201, endpoint)


async def update(machine: Machine, endpoint: Endpoint, call: Call, change: Change) -> One:
    """Change the object of `change.name`. Raises StatusError."""
    namespace = call.namespace if endpoint.resource.namespaced else ""
    for left in range(RACE_TRIES - 1, -1, -1):
        old = endpoint.objects.find(namespace, change.name)
        if old is None:
            if not change.allow_create:
                raise statuses.not_found(endpoint.resource.group, endpoint.resource.plural, change.name)
            _may_create(machine, call)
            # What a client believed to replace has gone: it is created anew (upstream's update writes it as well).
            missing = lifecycle.with_meta(change.make(None), resourceVersion=None)
            try:
                return await create(machine, endpoint, call, missing, change.own)
            except statuses.StatusError as error:
                if error.reason != "AlreadyExists" or not left:
                    raise
                continue  # somebody else was faster: that one is changed
        # A fresh copy: decoding takes parts of its input over, and preparation works in place.
        given = change.make(endpoint.show(jsonyaml.loads(old.wire)))
        try:
            return await _update_once(machine, endpoint, call, change, old, given)
        except Raced:
            if given["metadata"].get("resourceVersion") not in (None, "", str(old.revision)) or not left:
                raise endpoint.conflict(change.name) from None
            # Upstream's GuaranteedUpdate reads again and repeats; a version that the client gave is compared there.
    raise AssertionError("unreachable: the last try returns or raises")


def _may_create(machine: Machine, call: Call) -> None:
    """Who may only change things makes none by changing what is not there (handlers/create.go, withAuthorization)."""
    target = call.target
    asked = Attributes(
        call.user, "create", target.group, target.version, target.resource, target.subresource, target.namespace,
        target.name, target.path,
    )  # fmt: skip
    verdict = machine.authorizer.authorize(asked)
    if not verdict.allowed:
        raise forbidden(asked, verdict)


async def touch(endpoint: Endpoint, namespace: str, name: str, edit: Callable[[Object], Object]) -> Stored:
    """Change an object by the server's own hand: no admission, owner or validation. `edit` may raise StatusError."""
    for _ in range(RACE_TRIES):
        old = endpoint.objects.get(namespace, name)
        try:
            return await endpoint.objects.replace(old, edit(old.object))
        except Raced:
            continue
    raise endpoint.conflict(name)


async def _update_once(
    machine: Machine, endpoint: Endpoint, call: Call, change: Change, old: Stored, given: Object
) -> One:
    before = old.object
    namespace = before["metadata"].get("namespace", "")
    given = lifecycle.match_namespace(given, namespace)
    attempt = Attempt(
        machine, call, Operation.UPDATE, endpoint, call.target.subresource, namespace, change.name,
        endpoint.take(given), before,
    )  # fmt: skip
    obj = await machine.admission.mutate(attempt)
    obj = change.own(before, obj)
    _check_version(endpoint, change, obj, old)
    obj = lifecycle.inherit(obj, before)
    obj = endpoint.strategy.prepare_update(obj, before, change.subresource, rfc3339(machine.clock.time()))
    async with machine.allocations(endpoint, obj, before, dry_run=call.dry_run) as allocation:
        obj = allocation.obj
        causes = [*lifecycle.immutable_meta(obj, before)]
        causes += endpoint.strategy.validate_update(obj, before, change.subresource)
        if causes:
            raise endpoint.invalid(obj, causes)
        for warning in endpoint.strategy.warnings(obj, before):
            call.warn(warning)
        await machine.admission.validate(replace(attempt, obj=obj))
        if endpoint.leaves(obj, before):
            return await _last(machine, endpoint, call, old, obj)
        if call.dry_run:
            kept = lifecycle.with_meta(obj, resourceVersion=str(old.revision))
            return One(endpoint.show(kept), endpoint=endpoint)
        stored = await endpoint.objects.replace(old, obj)
        allocation.keep()
    return One(None, stored, 200, endpoint)


async def _last(machine: Machine, endpoint: Endpoint, call: Call, old: Stored, obj: Object) -> One:
    """The update that took the last finalizer: the object goes with it."""
    if not call.dry_run:
        await endpoint.objects.remove(old)
        await machine.released(endpoint, old.object)
    return One(endpoint.show(obj), endpoint=endpoint)


def _check_version(endpoint: Endpoint, change: Change, obj: Object, old: Stored) -> None:
    """The client's resourceVersion and uid, where it gives them, are the living object's."""
    meta = obj["metadata"]
    uid, version = meta.get("uid"), meta.get("resourceVersion")
    if uid and uid != old.meta.get("uid"):
        why = (
            f"StorageError: invalid object, Code: 4, Key: {old.key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.meta.get('uid')}"
        )
        raise endpoint.conflict(change.name, why)
    if not version or version == "0":
        if not endpoint.strategy.unconditional_update and not change.subresource:
            why = "Invalid value: 0: must be specified for an update"
            raise endpoint.invalid(obj, [statuses.FieldCause("FieldValueInvalid", "metadata.resourceVersion", why)])
        return
    if version != str(old.revision):
        if not version.isdigit():
            why = f'Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
            raise endpoint.invalid(obj, [statuses.FieldCause("FieldValueInvalid", "metadata.resourceVersion", why)])
        raise endpoint.conflict(change.name)
