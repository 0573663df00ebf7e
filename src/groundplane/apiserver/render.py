"""Answers as the client wants them: the kept bytes, or a dict, a Table, metadata alone; as JSON, YAML or protobuf.

The fast paths: one object and a whole list in JSON are joined from kept bytes, and a watch event is encoded once for
all watchers of the same form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from groundplane.apiserver import protobuf
from groundplane.apiserver.cache.stored import Object
from groundplane.apiserver.cache.watcher import Bookmark, Item, Refusal, Shown
from groundplane.apiserver.call import Call, Many, One
from groundplane.apiserver.negotiate import JSON, PARTIAL, PARTIAL_LIST, PROTOBUF, TABLE, YAML, Form
from groundplane.apiserver.registry import Endpoint
from groundplane.base import jsonyaml
from groundplane.kinds import decode, tables
from groundplane.kinds.resources import Resource

META_GROUP = "meta.k8s.io"
INITIAL_END = "k8s.io/initial-events-end"
# A list is written in pieces of about this many objects, so that a large one never exists twice in memory.
_PIECE = 256


def encode(obj: Object, form: Form) -> bytes:
    """A dict in the form's media type."""
    if form.media == PROTOBUF:
        return protobuf.encode(obj)
    if form.media == YAML:
        return jsonyaml.yaml_dumps(obj).encode()
    return (jsonyaml.dumps_pretty(obj) if form.pretty else jsonyaml.dumps(obj)) + b"\n"


def one(answer: One, form: Form, call: Call, now: float) -> bytes:
    """One object's bytes."""
    plain = form.media == JSON and not form.pretty and (not form.shown_as or answer.endpoint is None)
    if plain and answer.obj is None and answer.stored is not None and not _converted(answer.endpoint):
        return answer.stored.wire
    return encode(shown_one(answer, form, call, now), form)


def _converted(endpoint: Endpoint | None) -> bool:
    return endpoint is not None and endpoint.converted


def shown_one(answer: One, form: Form, call: Call, now: float) -> Object:
    """One object as a dict, in the shape the client asked for."""
    obj, endpoint = answer.object, answer.endpoint
    if not form.shown_as or (endpoint is None and obj.get("kind") != "Scale") or obj.get("kind") == "Status":
        return obj
    if form.shown_as != TABLE:
        return partial(obj, form.version)
    version = obj["metadata"].get("resourceVersion", "")
    if endpoint is None:
        return _rows(None, tables.scale([obj], now), [obj], version, form, call)
    return _table(endpoint, [obj], version, form, call, now)


def partial(obj: Object, version: str = "v1") -> Object:
    return {"kind": PARTIAL, "apiVersion": f"{META_GROUP}/{version}", "metadata": obj["metadata"]}


def shown_many(answer: Many, form: Form, call: Call, now: float) -> Object:
    """A list as a dict."""
    endpoint = answer.endpoint
    objects = [endpoint.show(s.object) for s in answer.items]
    meta = _list_meta(answer)
    if form.shown_as == TABLE:
        table = _table(endpoint, objects, "", form, call, now)
        return {**table, "metadata": meta}
    if form.shown_as:
        items = [partial(o, form.version) for o in objects]
        return {"kind": PARTIAL_LIST, "apiVersion": f"{META_GROUP}/{form.version}", "metadata": meta, "items": items}
    kind, version = endpoint.resource.kind + "List", endpoint.api_version
    bare = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in objects]
    return {"kind": kind, "apiVersion": version, "metadata": meta, "items": bare}


def _list_meta(answer: Many) -> Object:
    meta: Object = {"resourceVersion": str(answer.revision)}
    if answer.next_token:
        meta["continue"] = answer.next_token
        if answer.remaining:
            meta["remainingItemCount"] = answer.remaining
    return meta


def many(answer: Many, form: Form, call: Call, now: float) -> Iterator[bytes]:
    """A list's bytes, piece by piece."""
    endpoint = answer.endpoint
    if form.media == JSON and not form.shown_as and not form.pretty:
        yield from _joined(answer)
    else:
        obj = shown_many(answer, form, call, now)
        if form.media == PROTOBUF and not form.shown_as:
            kind, version = endpoint.resource.kind, endpoint.api_version
            obj["items"] = [{"kind": kind, "apiVersion": version, **item} for item in obj["items"]]
        yield encode(obj, form)


def _joined(answer: Many) -> Iterator[bytes]:
    endpoint = answer.endpoint
    kind, version = endpoint.resource.kind.encode(), endpoint.api_version.encode()
    head = b'{"kind":"%sList","apiVersion":"%s","metadata":' % (kind, version)
    piece = bytearray(head + jsonyaml.dumps(_list_meta(answer)) + b',"items":[')
    items = answer.items
    if items and not endpoint.converted:
        for start in range(0, len(items), _PIECE):
            if start:
                piece = bytearray(b",")
            piece += b",".join([s.item for s in items[start : start + _PIECE]])
            if start + _PIECE < len(items):
                yield bytes(piece)
    elif items:
        shown = [{k: v for k, v in endpoint.show(s.object).items() if k not in ("kind", "apiVersion")} for s in items]
        piece += b",".join(jsonyaml.dumps(o) for o in shown)
    piece += b"]}\n"
    yield bytes(piece)


def _table(endpoint: Endpoint, objects: list[Object], version: str, form: Form, call: Call, now: float) -> Object:
    return _rows(endpoint.resource, tables.table(endpoint.resource, objects, now), objects, version, form, call)


def _rows(
    resource: Resource | None, printed: tables.Table, objects: list[Object], version: str, form: Form, call: Call
) -> Object:
    columns, rows = printed
    include = call.query.get("includeObject", "Metadata")
    made = []
    for obj, row in zip(objects, rows, strict=True):
        entry: Object = {"cells": row}
        if resource is not None and (conditions := tables.conditions(resource, obj)):
            entry["conditions"] = conditions
        if include == "Object":
            entry["object"] = obj
        elif include != "None":
            entry["object"] = partial(obj, form.version)
        made.append(entry)
    meta: Object = {"resourceVersion": version} if version else {}
    return {
        "kind": TABLE,
        "apiVersion": f"{META_GROUP}/{form.version}",
        "metadata": meta,
        "columnDefinitions": columns,
        "rows": made,
    }


def event_object(endpoint: Endpoint, item: Item, form: Form, call: Call, now: float) -> tuple[str, Object]:
    """A watch event's word and its object as a dict."""
    if isinstance(item, Refusal):
        return "ERROR", item.status
    if isinstance(item, Bookmark):
        return "BOOKMARK", _bookmark(endpoint, item, form)
    obj = endpoint.show(item.stored.object)
    if form.shown_as == TABLE:
        return item.type, _table(endpoint, [obj], obj["metadata"]["resourceVersion"], form, call, now)
    return item.type, partial(obj, form.version) if form.shown_as else obj


def _bookmark(endpoint: Endpoint, item: Bookmark, form: Form) -> Object:
    """An object with nothing but a resource version, as Go would write an empty struct of the kind."""
    meta: Object = {"resourceVersion": str(item.revision)}
    if item.initial_end:
        meta["annotations"] = {INITIAL_END: "true"}
    group = f"{META_GROUP}/{form.version}"
    if form.shown_as == TABLE:
        empty: Object = {"kind": TABLE, "apiVersion": group, "metadata": {"resourceVersion": str(item.revision)}}
        row = {"cells": [], "object": {"kind": PARTIAL, "apiVersion": group, "metadata": meta}}
        return {**empty, "columnDefinitions": [], "rows": [row]}
    if form.shown_as:
        return {"kind": PARTIAL, "apiVersion": group, "metadata": meta}
    blank, _ = decode.decode(endpoint.type, {"metadata": meta})
    return {"kind": endpoint.resource.kind, "apiVersion": endpoint.api_version, **blank}


def frame(endpoint: Endpoint, item: Item, form: Form, call: Call, now: float) -> bytes:
    """One watch event as bytes of the form's stream; kept with the change, for the next watcher."""
    if not isinstance(item, Shown):
        return _frame(*event_object(endpoint, item, form, call, now), form)
    if form.media == JSON and not form.shown_as and not endpoint.converted:
        if item.change is None:
            return b'{"type":"%s","object":%s}\n' % (item.type.encode(), item.stored.wire)
        key: tuple[Any, str] = (JSON, item.type)
        if (made := item.change.frames.get(key)) is None:
            made = b'{"type":"%s","object":%s}\n' % (item.type.encode(), item.stored.wire)
            item.change.frames[key] = made
        return made
    key = ((form, endpoint.api_version), item.type)
    if item.change is not None and (kept := item.change.frames.get(key)) is not None:
        return kept
    made = _frame(*event_object(endpoint, item, form, call, now), form)
    if item.change is not None and form.shown_as != TABLE:  # a table's ages go stale
        item.change.frames[key] = made
    return made


def _frame(word: str, obj: Object, form: Form) -> bytes:
    if form.media != PROTOBUF:
        return b'{"type":"%s","object":%s}\n' % (word.encode(), jsonyaml.dumps(obj))
    return protobuf.frame(word, protobuf.encode(obj))
