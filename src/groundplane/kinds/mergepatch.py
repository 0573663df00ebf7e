"""JSON Merge Patch (RFC 7396) over plain values; the document given is never changed, untouched parts are shared."""

from __future__ import annotations

from typing import Any


def apply(document: Any, patch: Any) -> Any:
    """The document with `patch` merged in: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = apply(result.get(key), value)
        else:
            result[key] = value
    return result


def difference(old: Any, new: Any) -> Any:
    """The smallest merge patch that turns object `old` into `new`; `{}` where they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            if inner := difference(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch
