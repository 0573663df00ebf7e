"""What many cells have in common: ages, label and selector text, lists cut short."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from groundplane.base.clock import parse_rfc3339
from groundplane.kinds import selectors

Object = dict[str, Any]

NONE, UNKNOWN, UNSET = "<none>", "<unknown>", "<unset>"


def human_duration(seconds: float) -> str:
    """`5s`, `2m30s`, `3h`, `4d6h`, `2y11d`: two figures at most (k8s.io/apimachinery/pkg/util/duration)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes, hours = whole // 60, whole // 3600
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(hours // 24, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{hours // 24}d"
    if hours < 24 * 365 * 8:
        return _two(hours // 24 // 365, "y", hours // 24 % 365, "d")
    return f"{hours // 24 // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def since(stamp: str | None, now: float) -> str:
    """How long ago; `<unknown>` where nobody said."""
    if not stamp:
        return UNKNOWN
    return human_duration(now - parse_rfc3339(stamp))


def age(obj: Object, now: float) -> str:
    return since(obj["metadata"].get("creationTimestamp"), now)


def created(obj: Object) -> str | None:
    """The stamp itself, for columns that clients render as an age."""
    stamp: str | None = obj["metadata"].get("creationTimestamp")
    return stamp


def name(obj: Object) -> str:
    return str(obj["metadata"].get("name", ""))


def labels(found: Object | None) -> str:
    """`a=b,c=d`, sorted; `<none>`."""
    return ",".join(f"{key}={value}" for key, value in sorted((found or {}).items())) or NONE


def selector(found: Object | None) -> str:
    """A LabelSelector's text; `<none>` where it says nothing."""
    try:
        parsed = selectors.from_object(found)
    except selectors.SelectorError:
        return "<error>"
    return str(parsed) or NONE


def containers(template: Object) -> list[str]:
    """The columns Containers and Images of a pod template."""
    found = template["spec"].get("containers") or ()
    return [",".join(c.get("name", "") for c in found), ",".join(c.get("image", "") for c in found)]


def shortened(items: Sequence[str], limit: int, more: str = " + {} more...") -> str:
    """The first items joined by commas, and how many are missing."""
    text = ",".join(items[:limit])
    return text + more.format(len(items) - limit) if len(items) > limit else text


def joined(items: Iterable[str], empty: str = NONE) -> str:
    return ",".join(items) or empty


def condition(obj: Object, kind: str) -> Object | None:
    """One of the status's conditions."""
    for found in obj.get("status", {}).get("conditions") or ():
        if found.get("type") == kind:
            return dict(found)
    return None


def is_true(obj: Object, kind: str) -> bool:
    found = condition(obj, kind)
    return found is not None and found.get("status") == "True"


def truth(value: bool | None) -> str:
    """A *bool as text."""
    return UNSET if value is None else "True" if value else "False"
