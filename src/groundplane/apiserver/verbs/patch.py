"""PATCH in its four languages: JSON patch, JSON merge patch, strategic merge patch, server-side apply.

A patch is carried out on the newest object; where somebody else writes in between, on the next one, unless the patch
itself names a resourceVersion (k8s.io/apiserver/pkg/endpoints/handlers/patch.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from groundplane.apiserver import lifecycle, statuses
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.call import Call, One
from groundplane.apiserver.request import truth
from groundplane.apiserver.verbs import body, gofmt, options, owners, write
from groundplane.apiserver.verbs.body import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from groundplane.base import jsonyaml
from groundplane.kinds import apply, decode, duplicates, jsonpatch, mergepatch, schema, strategic, typedvalues

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def patch(machine: Machine, endpoint: Endpoint, call: Call) -> One:
    kind = body.media_type(call.content_type)
    if kind not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH):
        raise statuses.unsupported_patch()
    is_apply = kind == APPLY_PATCH
    document = body.document_of_patch(call)
    options.check_patch(call, is_apply=is_apply)
    if is_apply:
        return await _apply(machine, endpoint, call, document)
    subresource = call.target.subresource
    change = write.Change(
        call.name,
        lambda old: patched(endpoint, call, kind, document, old),
        owners.updater(machine, endpoint, call, subresource),
        subresource,
    )
    return await write.update(machine, endpoint, call, change)


def patched(endpoint: Endpoint, call: Call, kind: str, document: Any, old: Object | None) -> Object:
    """The object that a patch makes of `old`, decoded and defaulted. Raises StatusError."""
    assert old is not None
    made = combine(endpoint.type, kind, document, old)
    notes = duplicates.find(call.body, document) if isinstance(call.body, bytes) else []
    return _decoded(endpoint, call, made, document if kind == STRATEGIC_PATCH else None, notes)


def combine(type_: schema.Type, kind: str, document: Any, old: Object) -> Any:
    """`old` with the patch carried out, not yet checked against the type. Raises StatusError."""
    try:
        if kind == JSON_PATCH:
            return jsonpatch.apply(old, document)
        if kind == MERGE_PATCH:
            return mergepatch.apply(old, document)
        return strategic.apply(type_, old, document)
    except jsonpatch.PatchError as error:
        if error.too_large:
            raise statuses.too_large(str(error)) from error
        raise (statuses.bad_request(str(error)) if error.bad_request else statuses.unprocessable()) from error
    except strategic.StrategicPatchError as error:
        raise statuses.plain(str(error)) from error


def _decoded(endpoint: Endpoint, call: Call, made: Any, shown: Any, notes: Sequence[str] = ()) -> Object:
    obj = typed(endpoint.type, call, made, shown, notes)
    head: Object = {"kind": endpoint.resource.kind, "apiVersion": endpoint.resource.api_version}
    return endpoint.default({**head, **{k: v for k, v in obj.items() if k not in head}})


def typed(type_: schema.Type, call: Call, made: Any, shown: Any, notes: Sequence[str] = ()) -> Object:
    """What a patch has made, as an object of the type; `notes` are complaints about the patch's own text.

    A complaint shows `shown` as Go prints a map; None is `made` itself, as JSON. Raises Invalid.
    """

    def refuse(why: str) -> statuses.StatusError:
        value = jsonyaml.dumps(made).decode() if shown is None else gofmt.value(shown)
        cause = statuses.FieldCause("FieldValueInvalid", "patch", f"Invalid value: {gofmt.quoted(value)}: {why}")
        return statuses.invalid("", "", "", [cause])

    try:
        obj, unknown = decode.decode(type_, made)
    except decode.TypeMismatch as error:
        raise refuse(str(error) if shown is None else gofmt.mismatch(error.value, error.go_type)) from error
    except decode.KindDecodeError as error:
        raise refuse(str(error)) from error
    unknown = [*notes, *unknown]
    if unknown and (directive := call.query.get("fieldValidation") or "Warn") != "Ignore":
        if directive == "Strict":
            raise refuse(f"strict decoding error: {', '.join(unknown)}")
        for message in unknown:
            call.warn(message)
    return obj


async def _apply(machine: Machine, endpoint: Endpoint, call: Call, config: Any) -> One:
    resource, subresource = endpoint.resource, call.target.subresource
    _check_config(endpoint, call, config)
    given = config.get("metadata")
    if given is None or isinstance(given, dict):  # else its type refuses it below
        meta = {"name": call.name, **(given or {})}
        if call.namespace and resource.namespaced:
            meta.setdefault("namespace", call.namespace)
        config = {**config, "metadata": meta}
        lifecycle.match_name(config, call.name)
        config = lifecycle.match_namespace(config, call.namespace if resource.namespaced else "")
    change = write.Change(
        call.name,
        applied(machine, endpoint, call, config),
        lambda _live, new: new,
        subresource,
        allow_create=not subresource,
    )
    return await write.update(machine, endpoint, call, change)


def applied(machine: Machine, endpoint: Endpoint, call: Call, config: Object) -> Callable[[Object | None], Object]:
    """What `config` makes of an object, fields and their owners. The function raises StatusError."""
    who, force = owners.writer(machine, endpoint, call, call.target.subresource), truth(call.query.get("force"))

    def make(old: Object | None) -> Object:
        try:
            made = apply.apply(endpoint.type, old, config, who, force=force)
        except apply.ApplyConflict as error:
            causes = [
                {"reason": "FieldManagerConflict", "message": sentence, "field": path}
                for sentence, path in error.causes
            ]
            raise statuses.StatusError(409, "Conflict", str(error), {"causes": causes}) from error
        except typedvalues.TypedError as error:
            kind = f"{endpoint.resource.group}/{endpoint.resource.version}, Kind={endpoint.resource.kind}"
            where = f"{_given_namespace(call, config)}/{call.name}; {kind}"
            raise statuses.plain(f"failed to create typed patch object ({where}): {error}") from error
        return _decoded(endpoint, call, made, config)

    return make


def _given_namespace(call: Call, config: Object) -> str:
    meta = config["metadata"]
    namespace: str = meta.get("namespace", "") if isinstance(meta, dict) else ""
    return "" if namespace == call.namespace else namespace


def _check_config(endpoint: Endpoint, call: Call, config: Object) -> None:
    kind, api_version = (v if isinstance(v := config.get(word), str) else "" for word in ("kind", "apiVersion"))
    if not kind or not api_version:
        group, version = schema.split_api_version(api_version)
        raise statuses.bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
    if (kind, api_version) != (endpoint.resource.kind, endpoint.api_version):
        raise statuses.bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version "
            f"({endpoint.api_version})"
        )
    meta = config.get("metadata")
    if isinstance(meta, dict) and meta.get("managedFields"):
        raise statuses.bad_request("metadata.managedFields must be nil")
