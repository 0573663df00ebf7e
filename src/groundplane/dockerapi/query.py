"""Reading requests: Docker's booleans, numbers, stamps, filters and JSON bodies. Wrong ones are BadParameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from groundplane.base.clock import parse_rfc3339
from groundplane.base.jsonyaml import DecodeError, loads
from groundplane.engine.contract import BadParameter

Filters = Mapping[str, list[str]]


def flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    """httputils.BoolValue: empty, 0, no, false and none are false, everything else is true."""
    if name not in request.query:
        return default
    return request.query[name].strip().lower() not in ("", "0", "no", "false", "none")


def number(request: web.Request, name: str, default: int | None = None) -> int | None:
    text = request.query.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadParameter(f"invalid {name}: {text!r} is not a whole number") from None


def stamp(request: web.Request, name: str) -> int:
    """Nanoseconds since the epoch of `SECONDS[.FRACTION]` or an RFC 3339 time; 0 where absent."""
    text = request.query.get(name, "")
    return moment(text, name) if text else 0


def moment(text: str, name: str) -> int:
    """The same of a value. Raises BadParameter, which calls it `name`."""
    try:
        seconds, _, fraction = text.partition(".")
        if seconds.lstrip("-").isdigit() and (not fraction or fraction.isdigit()):
            return max(0, int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0))
        return int(parse_rfc3339(text) * 1e9)
    except ValueError:
        raise BadParameter(f"invalid {name}: {text!r} is neither seconds nor an RFC 3339 time") from None


def filters(request: web.Request, known: frozenset[str]) -> dict[str, list[str]]:
    """`{"label": ["a=b"]}`, or the old form `{"label": {"a=b": true}}`. Raises BadParameter in Docker's words."""
    text = request.query.get("filters", "")
    if not text:
        return {}
    try:
        document = loads(text)
    except DecodeError as error:
        raise BadParameter(f"invalid filter: {error}") from error
    if not isinstance(document, dict):
        raise BadParameter("invalid filter: a JSON object expected")
    found: dict[str, list[str]] = {}
    for name, value in document.items():
        if name not in known:
            raise BadParameter(f"invalid filter '{name}'")
        values = [v for v, on in value.items() if on] if isinstance(value, dict) else value
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise BadParameter(f"invalid filter '{name}': a list of strings expected")
        found[name] = values
    return found


def labels_match(labels: Mapping[str, str], wanted: list[str]) -> bool:
    """Every `key` or `key=value` must hold."""
    for item in wanted:
        key, equals, value = item.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True


async def json_body(request: web.Request) -> dict[str, Any]:
    """The request's JSON object; empty where there is no body."""
    data = await request.read()
    if not data:
        return {}
    try:
        document = loads(data)
    except DecodeError as error:
        raise BadParameter(f"invalid JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadParameter("invalid JSON: an object expected")
    return document
