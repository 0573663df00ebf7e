"""Complaints about fields, in upstream's words (k8s.io/apimachinery/pkg/util/validation/field/errors.go).

A complaint's `message` is what a Status's cause carries; `str()` puts the field before it, as the Status's own message
does: `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_NOTHING = object()

INVALID, REQUIRED, UNSUPPORTED = "FieldValueInvalid", "FieldValueRequired", "FieldValueNotSupported"
FORBIDDEN, DUPLICATE, NOT_FOUND = "FieldValueForbidden", "FieldValueDuplicate", "FieldValueNotFound"
TOO_LONG, TOO_MANY, INTERNAL = "FieldValueTooLong", "FieldValueTooMany", "InternalError"

_TITLES = {
    INVALID: "Invalid value",
    REQUIRED: "Required value",
    UNSUPPORTED: "Unsupported value",
    FORBIDDEN: "Forbidden",
    DUPLICATE: "Duplicate value",
    NOT_FOUND: "Not found",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    INTERNAL: "Internal error",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint: `reason` is the cause's reason in a Status, `field` the path, `message` the rest."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


Errors = list[FieldError]


def shown(value: Any) -> str:
    """A value as Go prints it in a complaint: strings quoted, structures as JSON."""
    if isinstance(value, str):
        return quoted(value)
    if value is None or isinstance(value, bool | dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return str(value)


def quoted(text: str) -> str:
    """Go's %q."""
    out = []
    for letter in text:
        if letter in '"\\':
            out.append("\\" + letter)
        elif letter in _ESCAPES:
            out.append(_ESCAPES[letter])
        elif letter.isprintable():
            out.append(letter)
        else:
            code = ord(letter)
            out.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(out)}"'


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _make(reason: str, field: str, value: Any, detail: str) -> FieldError:
    text = _TITLES[reason] if value is _NOTHING else f"{_TITLES[reason]}: {shown(value)}"
    return FieldError(reason, field, f"{text}: {detail}" if detail else text)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return _make(INVALID, field, value, detail)


def required(field: str, detail: str = "") -> FieldError:
    return _make(REQUIRED, field, _NOTHING, detail)


def unsupported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    return _make(UNSUPPORTED, field, value, f"supported values: {', '.join(quoted(one) for one in supported)}")


def forbidden(field: str, detail: str) -> FieldError:
    return _make(FORBIDDEN, field, _NOTHING, detail)


def duplicate(field: str, value: Any) -> FieldError:
    return _make(DUPLICATE, field, value, "")


def not_found(field: str, value: Any) -> FieldError:
    return _make(NOT_FOUND, field, value, "")


def too_long(field: str, limit: int) -> FieldError:
    return _make(TOO_LONG, field, _NOTHING, f"may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    return _make(TOO_MANY, field, count, f"must have at most {limit} {'item' if limit == 1 else 'items'}")


def summary(errors: Sequence[FieldError]) -> str:
    """What follows `… is invalid: ` in a Status: one complaint as it is, several in brackets, repeated ones once."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
