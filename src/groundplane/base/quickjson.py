"""JSON for the command line's first milliseconds.

The C halves of the standard `json` module, used directly: its Python half imports `re` and `enum`, which costs 5 ms of
the 20 that a command has. Where an interpreter does not have them, the module itself is used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Form:
    """What `_json.make_scanner` reads its rules from: those of `json.loads`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> float:
        return float(name.replace("Infinity", "inf"))


def decode(data: bytes) -> Any:
    """The document in `data`; None where there is none. Raises ValueError."""
    text = data.decode("utf-8").strip(" \t\n\r")
    if not text:
        return None
    try:
        from _json import make_scanner
    except ImportError:
        import json

        return json.loads(text)
    form: Any = _Form()
    try:
        value, end = make_scanner(form)(text, 0)
    except StopIteration:
        raise ValueError("not a JSON document") from None
    if end != len(text):
        raise ValueError("not a JSON document: there is more behind it")
    return value


def encode(value: object) -> bytes:
    """The document's bytes. Raises TypeError for what JSON does not have."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value).encode()
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


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")
