"""Query parameters and option bodies, checked with upstream's sentences.

k8s.io/apimachinery/pkg/apis/meta/v1/validation and …/internalversion/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Call
from groundplane.apiserver.request import truth
from groundplane.apiserver.statuses import FieldCause
from groundplane.base import jsonyaml

MANAGER_LENGTH = 128
_VALIDATIONS = ("", "Ignore", "Strict", "Warn")
_POLICIES = ("Foreground", "Background", "Orphan")


def unsupported(field: str, value: str, supported: Iterable[str]) -> FieldCause:
    told = ", ".join(f'"{s}"' for s in supported)
    return FieldCause("FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {told}')


def forbidden_field(field: str, why: str) -> FieldCause:
    return FieldCause("FieldValueForbidden", field, f"Forbidden: {why}")


def _refuse(kind: str, causes: list[FieldCause]) -> None:
    if causes:
        raise statuses.invalid("meta.k8s.io", kind, "", causes)


def _dry_run(values: list[str]) -> list[FieldCause]:
    if all(v == "All" for v in values):
        return []
    shown = jsonyaml.dumps(values).decode()
    return [FieldCause("FieldValueNotSupported", "dryRun", f'Unsupported value: {shown}: supported values: "All"')]


def _manager(name: str) -> list[FieldCause]:
    causes = []
    if len(name) > MANAGER_LENGTH:
        causes.append(
            FieldCause("FieldValueTooLong", "fieldManager", f"Too long: may not be more than {MANAGER_LENGTH} bytes")
        )
    if not name.isprintable():
        bad = next(c for c in name if not c.isprintable())
        causes.append(
            FieldCause(
                "FieldValueInvalid",
                "fieldManager",
                f'Invalid value: "{name}": should only contain printable characters: {bad!r}',
            )
        )
    return causes


def check_write(call: Call, kind: str) -> None:
    """`kind` is CreateOptions or UpdateOptions. Raises Invalid."""
    query = call.query
    causes = _dry_run(query.all("dryRun")) + _manager(query.get("fieldManager", ""))
    causes += _validation(query.get("fieldValidation", ""))
    _refuse(kind, causes)


def check_patch(call: Call, *, is_apply: bool) -> None:
    query = call.query
    causes: list[FieldCause] = []
    manager = query.get("fieldManager", "")
    if is_apply:
        if not manager:
            causes.append(
                FieldCause("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
            )
    elif "force" in query:
        causes.append(forbidden_field("force", "may not be specified for non-apply patch"))
    causes += _manager(manager) + _dry_run(query.all("dryRun")) + _validation(query.get("fieldValidation", ""))
    _refuse("PatchOptions", causes)


def _validation(word: str) -> list[FieldCause]:
    return [] if word in _VALIDATIONS else [unsupported("fieldValidation", word, _VALIDATIONS)]


def check_delete(options: Mapping[str, object]) -> None:
    """A DeleteOptions object (from body or query)."""
    causes: list[FieldCause] = []
    policy, orphan = options.get("propagationPolicy"), options.get("orphanDependents")
    if policy is not None and orphan is not None:
        causes.append(
            FieldCause(
                "FieldValueInvalid",
                "propagationPolicy",
                f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set',
            )
        )
    if policy is not None and policy not in _POLICIES:
        causes.append(unsupported("propagationPolicy", str(policy), [*_POLICIES, "nil"]))
    dry = options.get("dryRun") or []
    causes += _dry_run([str(d) for d in dry] if isinstance(dry, list) else [])
    _refuse("DeleteOptions", causes)


def check_list(query: Mapping[str, str], *, watch: bool) -> None:
    """resourceVersionMatch, continue and sendInitialEvents must fit together."""
    match, version = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    initial, causes = query.get("sendInitialEvents"), []
    name = "resourceVersionMatch"
    if watch and initial is not None:
        if match != "NotOlderThan":
            why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            causes.append(forbidden_field(name, why))
        if truth(initial) and not truth(query.get("allowWatchBookmarks")):
            why = "sendInitialEvents requires setting allowWatchBookmarks to true"
            causes.append(forbidden_field("sendInitialEvents", why))
    elif initial is not None:
        causes.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    elif match:
        causes += _match(match, version, continued=bool(query.get("continue")), watch=watch)
    _refuse("ListOptions", causes)


def _match(match: str, version: str, *, continued: bool, watch: bool) -> list[FieldCause]:
    name, causes = "resourceVersionMatch", []
    if watch:
        causes.append(
            forbidden_field(name, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        )
    elif not version:
        causes.append(forbidden_field(name, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if continued:
        causes.append(forbidden_field(name, "resourceVersionMatch is forbidden when continue is provided"))
    if match not in ("Exact", "NotOlderThan"):
        causes.append(unsupported(name, match, ["Exact", "NotOlderThan", ""]))
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(forbidden_field(name, why))
    return causes


def whole_number(call: Call, name: str) -> int | None:
    """A numeric query parameter, None where it is absent or empty."""
    text = call.query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise statuses.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
