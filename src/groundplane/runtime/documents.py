"""JSON files of the command line: read with one sentence for what is wrong, written whole or not at all.

The `json` package brings `re`, `enum` and `collections` along, 5 ms of a cold start that has 20; its scanner and its
string encoder are C functions that need none of them, so they are used directly where CPython has them.
"""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

_LIMIT = 64 << 20  # bytes; the largest documents seen in the field are a few hundred kilobytes
_BLANKS = " \t\n\r"


class _Settings:
    """What the C scanner asks its owner for: plain values, no hooks, and none of the numbers that JSON has not."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")


def decode(text: str, what: str) -> Any:
    """The one JSON value of a text; `what` names it in the error. Raises GroundError."""
    try:
        value, end = _scanner()(text, len(text) - len(text.lstrip(_BLANKS)))
    except (ValueError, StopIteration, RecursionError, SystemError) as error:
        # SystemError: CPython 3.11's scanner takes its exception from `json.decoder` and forgets to import it.
        raise GroundError(f"{what}: not a JSON document: {_problem(text)}") from error
    if text[end:].strip(_BLANKS):
        raise GroundError(f"{what}: not a JSON document: {_problem(text)}")
    return value


def _problem(text: str) -> str:
    """What is wrong with it and where, from the library, which is loaded only to say so."""
    import json

    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    return "NaN and Infinity are no numbers of JSON"


def _scanner() -> Callable[[str, int], tuple[Any, int]]:
    try:
        from _json import make_scanner
    except ImportError:
        from json.decoder import JSONDecoder

        return JSONDecoder().raw_decode
    settings: Any = _Settings
    return make_scanner(settings)


def encode_text(text: str) -> str:
    """A JSON string."""
    try:
        from _json import encode_basestring_ascii as encode
    except ImportError:
        from json.encoder import encode_basestring_ascii as encode
    quoted: str = encode(text)
    return quoted


def read_text(path: str) -> str:
    """A whole text file. Raises OSError, GroundError."""
    with open(path, "rb") as file:
        return read_stream(file, path)


def read_stream(file: BinaryIO, what: str) -> str:
    """All the text of an open file; `what` names it in the error. Raises OSError, GroundError."""
    data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise GroundError(f"{what}: larger than {_LIMIT} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise GroundError(f"{what}: not a JSON document: not UTF-8") from error


def read_json(path: str) -> Any:
    """The decoded document. Raises OSError, GroundError."""
    return decode(read_text(path), path)


def write_text(path: str, text: str) -> None:
    """Write beside it and rename over it. Raises OSError."""
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(temporary, path)


def read_config_file(directory: str) -> tuple[dict[str, Any], str]:
    """A bundle's config.json, decoded and as it was written. Raises GroundError."""
    try:
        text = read_text(f"{directory}/config.json")
    except FileNotFoundError:
        raise GroundError("JSON specification file config.json not found") from None
    except OSError as error:
        raise GroundError(f"open config.json: {os.strerror(error.errno or 0).lower()}") from error
    document = decode(text, "config.json")
    if not isinstance(document, dict):
        raise GroundError("config.json: an object is expected")
    return document, text
