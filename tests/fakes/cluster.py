"""A small API server in memory, as a Transport: enough of upstream's semantics to run loops against.

Revisions, compare-and-set, generateName, finalizers and graceful-free deletion, status subresources, merge, JSON and
strategic patches (merge keys of the few lists our loops patch), watches with selectors, pod binding. No validation, no
defaulting, no access control.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import Any

from groundplane.base.clock import Clock, rfc3339
from groundplane.client.contract import (
    JSON_PATCH,
    STRATEGIC_PATCH,
    ApiError,
    Object,
    Request,
    Response,
    WatchEvent,
)
from groundplane.kinds.selectors import parse_fields, parse_labels

_MERGE_KEYS = {
    "ownerReferences": "uid",
    "conditions": "type",
    "containers": "name",
    "taints": "key",
    "env": "name",
    "addresses": "type",
    "secrets": "name",
}
_STATUS = ("pods", "nodes", "namespaces", "services", "deployments", "replicasets")


class FakeCluster:
    """One store, any number of watchers; `transport` for clients, `objects` and `calls` for assertions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._revision = 0
        self._store: dict[str, dict[tuple[str, str], Object]] = {}  # by "group/version/plural"
        self._log: list[tuple[str, Object | None, Object, str]] = []  # every change, for watches from the past
        self._watchers: list[tuple[str, str, Callable[[Object], bool], asyncio.Queue[WatchEvent]]] = []
        self.calls: list[tuple[str, str]] = []
        self.refuse: Callable[[Request], ApiError | None] = lambda _: None

    def objects(self, plural: str, namespace: str = "") -> list[Object]:
        """All stored objects of a plural, sorted by key."""
        found = [
            (key, obj)
            for kind, table in self._store.items()
            if kind.rpartition("/")[2] == plural
            for key, obj in table.items()
        ]
        return [obj for key, obj in sorted(found, key=lambda pair: pair[0]) if not namespace or key[0] == namespace]

    def writes(self, plural: str) -> list[tuple[str, str]]:
        return [(m, p) for m, p in self.calls if m != "GET" and f"/{plural}" in p]

    async def send(self, request: Request) -> Response:
        self.calls.append((request.method, request.path))
        await asyncio.sleep(0)
        try:
            if (error := self.refuse(request)) is not None:
                raise error
            return Response(200, self._answer(request))
        except ApiError as error:
            return Response(error.code, error.status)

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[WatchEvent, None]:
        where = _Path(path)
        select = _selector(query)
        queue: asyncio.Queue[WatchEvent] = asyncio.Queue()
        entry = (where.kind, where.namespace, select, queue)
        since = int(query.get("resourceVersion") or 0)
        for kind, old, new, word in self._log:
            if int(new["metadata"]["resourceVersion"]) > since and kind == where.kind:
                self._offer(entry, old, new, word)
        self._watchers.append(entry)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.remove(entry)

    async def lines(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        raise ApiError(_status(404, "NotFound", f"no log at {path}"))
        yield b""

    async def close(self) -> None:
        pass

    def _answer(self, request: Request) -> Object:
        where = _Path(request.path)
        table = self._store.setdefault(where.kind, {})
        key = (where.namespace, where.name)
        if request.method == "POST" and not where.name:
            return self._create(where, table, request.body)
        if request.method == "GET" and not where.name:
            return self._list(where, table, request.query)
        if request.method == "DELETE" and not where.name:
            for each in [k for k in table if where.namespace in ("", k[0])]:
                self._delete(where, table, each, request.body or {})
            return {"kind": "Status", "status": "Success"}
        if key not in table:
            group = where.kind.split("/")[0]
            raise ApiError(
                _status(404, "NotFound", f'{where.plural}{"." + group if group else ""} "{where.name}" not found')
            )
        old = table[key]
        match request.method:
            case "GET":
                return old
            case "POST" if where.subresource == "binding":
                return self._bind(table, key, request.body)
            case "PUT":
                return self._update(where, table, key, request.body)
            case "PATCH":
                new = _patched(old, request.body, request.content_type)
                return self._update(where, table, key, new)
            case "DELETE":
                return self._delete(where, table, key, request.body or {})
        raise ApiError(_status(405, "MethodNotAllowed", request.method))

    def _list(self, where: _Path, table: dict[tuple[str, str], Object], query: Mapping[str, str]) -> Object:
        select = _selector(query)
        items = [o for k, o in sorted(table.items()) if (not where.namespace or k[0] == where.namespace) and select(o)]
        return {"kind": "List", "metadata": {"resourceVersion": str(self._revision)}, "items": items}

    def _create(self, where: _Path, table: dict[tuple[str, str], Object], body: Object) -> Object:
        meta = dict(body.get("metadata") or {})
        if not meta.get("name"):
            meta["name"] = f"{meta['generateName']}{self._revision:05}"  # not random: a failure can be run again
        key = (where.namespace, meta["name"])
        if key in table:
            raise ApiError(_status(409, "AlreadyExists", f'{where.plural} "{meta["name"]}" already exists'))
        if where.namespace:
            meta["namespace"] = where.namespace
        meta |= {"uid": f"uid-{self._revision}", "creationTimestamp": rfc3339(self._clock.time()), "generation": 1}
        return self._put(where.kind, table, key, {**body, "metadata": meta})

    def _update(self, where: _Path, table: dict[tuple[str, str], Object], key: tuple[str, str], body: Object) -> Object:
        old = table[key]
        asked = body["metadata"].get("resourceVersion")
        if asked and asked != old["metadata"]["resourceVersion"]:
            raise ApiError(
                _status(
                    409,
                    "Conflict",
                    f'Operation cannot be fulfilled on {where.plural} "{key[1]}": the object has been modified; '
                    "please apply your changes to the latest version and try again",
                )
            )
        if (uid := body["metadata"].get("uid")) and uid != old["metadata"]["uid"]:
            raise ApiError(_status(409, "Conflict", "the uid differs"))
        if where.subresource == "status":
            notes = body["metadata"].get("annotations") or {}  # upstream's status strategies reset spec and labels only
            meta = {**old["metadata"], **({"annotations": notes} if notes else {})}
            new = {**old, "metadata": meta, "status": body.get("status") or {}}
        else:
            new = dict(body)
            if where.plural in _STATUS:
                new["status"] = old.get("status") or {}
            meta = {**new["metadata"], "uid": old["metadata"]["uid"], "generation": old["metadata"]["generation"]}
            for stamp in ("deletionTimestamp", "deletionGracePeriodSeconds"):
                if stamp in old["metadata"]:
                    meta[stamp] = old["metadata"][stamp]
            if new.get("spec") != old.get("spec"):
                meta["generation"] += 1
            new["metadata"] = meta
        if _bare(new) == _bare(old):
            return old
        if new["metadata"].get("deletionTimestamp") and not _held(new):
            return self._remove(where.kind, table, key, new)
        return self._put(where.kind, table, key, new)

    def _delete(
        self, where: _Path, table: dict[tuple[str, str], Object], key: tuple[str, str], options: Object
    ) -> Object:
        old = table[key]
        wanted = options.get("preconditions") or {}
        for field, known in (("uid", old["metadata"]["uid"]), ("resourceVersion", old["metadata"]["resourceVersion"])):
            if wanted.get(field, known) != known:
                raise ApiError(_status(409, "Conflict", f"Precondition failed: {field} in precondition: {wanted}"))
        finalizers = [f for f in old["metadata"].get("finalizers") or [] if f not in ("orphan", "foregroundDeletion")]
        if (policy := options.get("propagationPolicy")) in ("Orphan", "Foreground"):
            finalizers.append("orphan" if policy == "Orphan" else "foregroundDeletion")
        meta = {**old["metadata"], "finalizers": finalizers}
        grace = options.get("gracePeriodSeconds", (old.get("spec") or {}).get("terminationGracePeriodSeconds", 0))
        running = where.plural == "pods" and (old.get("spec") or {}).get("nodeName") and grace
        meta.setdefault("deletionTimestamp", rfc3339(self._clock.time() + (grace if running else 0)))
        new = {**old, "metadata": meta}
        if running or "deletionGracePeriodSeconds" in meta:
            meta["deletionGracePeriodSeconds"] = grace
        if finalizers or running or _held(new):
            return self._put(where.kind, table, key, new)
        return self._remove(where.kind, table, key, new)

    def _bind(self, table: dict[tuple[str, str], Object], key: tuple[str, str], body: Object) -> Object:
        pod = table[key]
        if pod["spec"].get("nodeName"):
            raise ApiError(
                _status(409, "Conflict", f'pod {key[1]} is already assigned to node "{pod["spec"]["nodeName"]}"')
            )
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(self._clock.time())}
        status = pod.get("status") or {}
        conditions = [c for c in status.get("conditions") or [] if c["type"] != "PodScheduled"] + [scheduled]
        new = {
            **pod,
            "spec": {**pod["spec"], "nodeName": body["target"]["name"]},
            "status": {**status, "conditions": conditions},
        }
        self._put("/v1/pods", table, key, new)
        return {"kind": "Status", "status": "Success"}

    def _put(self, kind: str, table: dict[tuple[str, str], Object], key: tuple[str, str], obj: Object) -> Object:
        self._revision += 1
        old = table.get(key)
        new = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._revision)}}
        table[key] = new
        self._tell(kind, old, new, "")
        return new

    def _remove(self, kind: str, table: dict[tuple[str, str], Object], key: tuple[str, str], obj: Object) -> Object:
        self._revision += 1
        old = table.pop(key)
        new = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self._revision)}}
        self._tell(kind, old, new, "DELETED")
        return new

    def _tell(self, kind: str, old: Object | None, new: Object, word: str) -> None:
        self._log.append((kind, old, new, word))
        for entry in self._watchers:
            if entry[0] == kind:
                self._offer(entry, old, new, word)

    @staticmethod
    def _offer(entry: Any, old: Object | None, new: Object, kind: str) -> None:
        _, namespace, select, queue = entry
        if namespace not in ("", new["metadata"].get("namespace")):
            return
        was, fits = old is not None and select(old), select(new) and kind != "DELETED"
        if was or fits:
            word = ("MODIFIED" if fits else "DELETED") if was else "ADDED"
            queue.put_nowait(WatchEvent(word, new))


class _Path:
    """/api/v1/namespaces/NS/pods/NAME/status, taken apart."""

    def __init__(self, path: str) -> None:
        parts = path.strip("/").split("/")
        core = parts[0] == "api"
        group, version = ("", parts[1]) if core else (parts[1], parts[2])
        rest = parts[2:] if core else parts[3:]
        self.namespace = ""
        if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
            self.namespace, rest = rest[1], rest[2:]
        self.plural = rest[0]
        self.name = rest[1] if len(rest) > 1 else ""
        self.subresource = rest[2] if len(rest) > 2 else ""
        self.kind = f"{group}/{version}/{self.plural}"


def _selector(query: Mapping[str, str]) -> Callable[[Object], bool]:
    labels, fields = parse_labels(query.get("labelSelector", "")), parse_fields(query.get("fieldSelector", ""))

    def fits(obj: Object) -> bool:
        values = {r.path: _field(obj, r.path) for r in fields.requirements}
        return labels.matches(obj["metadata"].get("labels")) and fields.matches(values)

    return fits


def _field(obj: Object, path: str) -> str:
    here: Any = obj
    for part in path.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return str(here or "")


def _held(obj: Object) -> bool:
    """Whether finalizers, the namespace's own included, or a period of grace keep a deleted object."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    held = bool(meta.get("finalizers")) or bool(meta.get("deletionGracePeriodSeconds"))
    return held or (obj.get("kind") == "Namespace" and bool(spec.get("finalizers")))


def _bare(obj: Object) -> Object:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}}


def _patched(old: Object, body: Any, kind: str) -> Object:
    new = copy.deepcopy(old)
    if kind == JSON_PATCH:
        for step in body:
            _json_step(new, step)
        return new
    return _merge(new, body, strategic=kind == STRATEGIC_PATCH)


def _json_step(doc: Any, step: Mapping[str, Any]) -> None:
    *parents, last = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
    for part in parents:
        doc = doc[int(part)] if isinstance(doc, list) else doc[part]
    if isinstance(doc, list):
        match step["op"]:
            case "remove":
                del doc[int(last)]
            case "add":
                doc.insert(len(doc) if last == "-" else int(last), step["value"])
            case "replace":
                doc[int(last)] = step["value"]
        return
    match step["op"]:
        case "remove":
            del doc[last]
        case "add" | "replace":
            doc[last] = step["value"]
        case "test":
            if doc.get(last) != step["value"]:
                raise ApiError(_status(422, "Invalid", f"testing value {step['path']} failed"))


def _merge(old: Any, new: Any, *, strategic: bool) -> Any:
    if not isinstance(new, dict):
        return new
    result = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [v for v in result.get(name) or [] if v not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif strategic and key in _MERGE_KEYS and isinstance(value, list):
            result[key] = _merge_list(result.get(key) or [], value, _MERGE_KEYS[key])
        elif strategic and key == "finalizers":
            result[key] = list(dict.fromkeys([*(result.get(key) or []), *value]))
        else:
            result[key] = _merge(result.get(key), value, strategic=strategic)
    return result


def _merge_list(old: Iterable[Object], new: Iterable[Object], by: str) -> list[Object]:
    result = list(old)
    for entry in new:
        at = next((i for i, o in enumerate(result) if o.get(by) == entry.get(by)), None)
        if entry.get("$patch") == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(entry)
        else:
            result[at] = _merge(result[at], entry, strategic=True)
    return result


def _status(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
