"""Field ownership and server-side apply: who set what, conflicts, and what an applier's omission removes.

The algorithm is KEP-555's, as structured-merge-diff (merge/update.go) carries it out:

    apply   merged = live ⊕ config; the applier owns config's paths; what it owned before and nobody owns now goes;
            paths of others that the merge changes are conflicts, unless forced: then those others lose them
    update  the writer owns what it added or changed, everyone else loses that, and what was removed

Both return the new object with `metadata.managedFields` set. Objects given are never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.kinds import fieldsets, typedvalues
from groundplane.kinds.fieldsets import FieldSet
from groundplane.kinds.schema import Type
from groundplane.kinds.typedvalues import Comparison

Object = dict[str, Any]

# managedfields/internal/stripmeta.go: nobody owns an object's identity.
_STRIPPED = fieldsets.decode(
    {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            ".": {},
            **{
                f"f:{name}": {}
                for name in (
                    "clusterName", "creationTimestamp", "generation", "managedFields", "name", "namespace",
                    "resourceVersion", "selfLink", "uid",
                )
            },
        },
    }
)  # fmt: skip
# managedfields/internal/capmanagers.go: older updaters are merged into one entry beyond this number.
_MAX_UPDATERS = 10
_ANCIENT = "ancient-changes"
_BEFORE_FIRST_APPLY = "before-first-apply"


class ApplyConflict(GroundError):
    """Fields belong to others. `causes` are (manager sentence, path), as the Status' details list them."""

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        by_manager: dict[str, list[str]] = {}
        for manager, path in conflicts:
            by_manager.setdefault(manager, []).append(path)
        lines = []
        for manager, paths in by_manager.items():
            if len(paths) == 1:
                lines.append(f"conflict with {manager}: {paths[0]}")
            else:
                lines.append("\n- ".join([f"conflicts with {manager}:", *paths]))
        count = f"{len(conflicts)} conflict{'s' if len(conflicts) != 1 else ''}"
        super().__init__(f"Apply failed with {count}: " + "\n".join(lines))
        self.causes = [(f"conflict with {manager}", path) for manager, path in conflicts]


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, how, and what this way of writing cannot touch.

    `time` is an RFC 3339 stamp; `ignored` the paths that the resource's strategy resets (`status` on the main
    resource, `spec` on the status subresource) in FieldsV1 form.
    """

    manager: str
    api_version: str
    subresource: str = ""
    time: str = ""
    ignored: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Entry:
    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """An applier is one whatever version it applies; an updater is one for each version."""
        return self.manager, self.operation, self.api_version if self.operation == "Update" else "", self.subresource


_Entries = dict[tuple[str, str, str, str], _Entry]


def _read(object: Object | None) -> _Entries:
    entries: _Entries = {}
    for raw in ((object or {}).get("metadata") or {}).get("managedFields") or ():
        entry = _Entry(
            raw.get("manager", ""),
            raw.get("operation", ""),
            raw.get("apiVersion", ""),
            raw.get("subresource", ""),
            raw.get("time") or "",
            fieldsets.decode(raw.get("fieldsV1")),
        )
        known = entries.get(entry.identity)
        if known is not None:
            entry = replace(entry, fields=fieldsets.union(known.fields, entry.fields))
        entries[entry.identity] = entry
    return entries


def _write(object: Object, entries: _Entries) -> Object:
    metadata = {k: v for k, v in (object.get("metadata") or {}).items() if k != "managedFields"}
    if entries:
        metadata["managedFields"] = [_document(e) for e in sorted(entries.values(), key=_order)]
    return {**object, "metadata": metadata}


def _order(entry: _Entry) -> tuple[str, str, str, str, str]:
    """managedfields/internal/managedfields.go, buildManagedFields: appliers first, then by age."""
    return entry.operation, entry.time, entry.manager, entry.api_version, entry.subresource


def _document(entry: _Entry) -> dict[str, Any]:
    document: dict[str, Any] = {"manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version}
    if entry.time:
        document["time"] = entry.time
    document["fieldsType"] = "FieldsV1"
    document["fieldsV1"] = fieldsets.encode(entry.fields)
    if entry.subresource:
        document["subresource"] = entry.subresource
    return document


def update(type: Type, live: Object | None, new: Object, writer: Writer) -> Object:
    """`new` with ownership after a create (`live` None), update or patch by `writer`.

    A writer that sends `managedFields: []` resets them (kubernetes.io, "Server-Side Apply", clearing managedFields);
    one that sends none keeps the live object's.
    """
    sent = (new.get("metadata") or {}).get("managedFields")
    if sent == [] or sent == [{}]:
        return _write(new, {})
    entries = _read(new if sent else live)
    if live is not None and not entries:
        return new  # never tracked, so that old objects do not grow an owner of everything
    comparison = _compared(type, live if live is not None else typedvalues.empty_object(type), new, writer.ignored)
    mine = _Entry(writer.manager, "Update", writer.api_version, writer.subresource, writer.time, {})
    entries = _taken(entries, comparison, keep=None)
    fields = fieldsets.union(comparison.added, comparison.modified)
    fields = fieldsets.difference(fields, _STRIPPED)
    if fields:
        before = entries.get(mine.identity)
        all_fields = fieldsets.union(before.fields, fields) if before else fields
        entries[mine.identity] = replace(mine, fields=all_fields)
    return _write(new, _capped(entries))


def apply(type: Type, live: Object | None, config: Object, writer: Writer, *, force: bool) -> Object:
    """The object after `writer` applied `config`. Raises ApplyConflict, TypedError (the configuration does not fit)."""
    claimed = fieldsets.recursive_difference(typedvalues.to_set(type, config), fieldsets.decode(writer.ignored))
    entries = _read(live)
    current: Object = live if live is not None else {}
    mine = _Entry(writer.manager, "Apply", writer.api_version, writer.subresource, "", {})
    if live is not None and not any(e.operation == "Apply" for e in entries.values()) and not entries:
        _own_everything(type, live, entries, writer)
    before = entries.get(mine.identity)
    entries[mine.identity] = replace(
        before or mine, fields=fieldsets.difference(claimed, _STRIPPED), api_version=writer.api_version
    )
    result = typedvalues.merge(type, current, config)
    if before is not None and before.fields:
        result = _pruned(type, result, before.fields, entries)
    comparison = _compared(type, current, result, writer.ignored)
    if not force and (conflicts := list(_conflicts(entries, comparison, mine.identity))):
        raise ApplyConflict(conflicts)
    entries = _taken(entries, comparison, keep=mine.identity)
    if not comparison.same and mine.identity in entries:
        entries[mine.identity] = replace(entries[mine.identity], time=writer.time)
    return _write(result if not comparison.same else current, entries)


def _compared(type: Type, old: Object, new: Object, ignored: dict[str, Any]) -> Comparison:
    comparison = typedvalues.compare(type, old, new)
    if not ignored:
        return comparison
    out = fieldsets.decode(ignored)
    return Comparison(
        fieldsets.recursive_difference(comparison.added, out),
        fieldsets.recursive_difference(comparison.modified, out),
        fieldsets.recursive_difference(comparison.removed, out),
    )


def _own_everything(type: Type, live: Object, entries: _Entries, writer: Writer) -> None:
    """Before ownership was tracked: one updater owns all of it (managedfields/internal/skipnonapplied.go)."""
    whole = typedvalues.compare(type, typedvalues.empty_object(type), live).added
    owned = fieldsets.difference(whole, _STRIPPED)
    created = (live.get("metadata") or {}).get("creationTimestamp") or ""
    entry = _Entry(_BEFORE_FIRST_APPLY, "Update", writer.api_version, "", created, owned)
    if owned:
        entries[entry.identity] = entry


def _conflicts(
    entries: _Entries, comparison: Comparison, applier: tuple[str, str, str, str]
) -> Iterator[tuple[str, str]]:
    changed = fieldsets.union(comparison.modified, comparison.added)
    for identity, entry in sorted(entries.items()):
        if identity != applier:
            for path in fieldsets.paths(fieldsets.intersection(entry.fields, changed)):
                yield _sentence(entry), path


def _sentence(entry: _Entry) -> str:
    """managedfields/internal/conflict.go, printManager."""
    text = f'"{entry.manager}"'
    if entry.subresource:
        text += f' with subresource "{entry.subresource}"'
    if entry.operation == "Update":
        text += f" using {entry.api_version}"  # no time: an identity is built without it
    return text


def _taken(entries: _Entries, comparison: Comparison, *, keep: tuple[str, str, str, str] | None) -> _Entries:
    """Everybody but `keep` loses what was changed, added or removed; who owns nothing any more is gone."""
    lost = fieldsets.union(fieldsets.union(comparison.modified, comparison.added), comparison.removed)
    result: _Entries = {}
    for identity, entry in entries.items():
        if identity != keep and lost:
            entry = replace(entry, fields=fieldsets.difference(entry.fields, lost))
        if entry.fields:
            result[identity] = entry
    return result


def _pruned(type: Type, merged: Object, owned_before: FieldSet, entries: _Entries) -> Object:
    """Remove what the applier owned before, and nobody owns now."""
    owned: FieldSet = {}
    for entry in entries.values():
        owned = fieldsets.union(owned, entry.fields)
    present = typedvalues.with_named(type, typedvalues.compare(type, {}, merged).added)
    gone = fieldsets.intersection(present, typedvalues.with_named(type, owned_before))
    gone = fieldsets.difference(gone, typedvalues.with_named(type, owned))
    return typedvalues.without(type, merged, gone) or {}


def _capped(entries: _Entries) -> _Entries:
    """Merge the oldest updaters into one entry where there are too many."""
    updaters = sorted((e for e in entries.values() if e.operation == "Update"), key=_order)
    surplus = len(updaters) - _MAX_UPDATERS
    if surplus <= 0:
        return entries
    oldest = updaters[: surplus + 1]
    merged = replace(oldest[-1], manager=_ANCIENT, subresource="")
    result = {k: v for k, v in entries.items() if v not in oldest}
    for entry in oldest:
        merged = replace(merged, fields=fieldsets.union(merged.fields, entry.fields))
    result[merged.identity] = merged
    return result
