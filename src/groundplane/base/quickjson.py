"""JSON for a command line's first milliseconds.

The C halves of the standard `json` module, used directly: its Python half imports `re`, `enum` and `collections`, 5 ms
of the 20 that a command has. Where an interpreter does not have them, the module itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BLANKS = " \t\n\r"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


class _Rules:
    """What the C scanner asks its owner for: those of `json.loads`, but none of the numbers that JSON has not."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)


def decode(text: str | bytes) -> Any:
    """The one value of a text. Raises ValueError, RecursionError."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text, parse_constant=_refuse_constant)
    rules: Any = _Rules
    try:
        value, end = make_scanner(rules)(text, len(text) - len(text.lstrip(_BLANKS)))
    except (StopIteration, SystemError) as error:
        # SystemError: CPython 3.11's scanner takes its exception from `json.decoder` and forgets to import it.
        raise ValueError("not a JSON document") from error
    if text[end:].strip(_BLANKS):
        raise ValueError("not a JSON document: there is more behind it")
    return value


def encode(value: object) -> bytes:
    """The document's bytes. Raises TypeError for what JSON does not have, ValueError for numbers that it has not."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    encoder = make_encoder(None, _refuse, encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encoder(value, 0)).encode()


def quoted(text: str) -> str:
    """A JSON string, other characters than ASCII's as they are."""
    try:
        from _json import encode_basestring
    except ImportError:
        import json

        return json.dumps(text, ensure_ascii=False)
    return encode_basestring(text)


def quoted_ascii(text: str) -> str:
    """A JSON string of ASCII characters; also for text with undecodable bytes in it."""
    try:
        from _json import encode_basestring_ascii
    except ImportError:
        import json

        return json.dumps(text)
    return encode_basestring_ascii(text)


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")
