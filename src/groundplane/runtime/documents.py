"""JSON files of the command line: read with one sentence for what is wrong, written whole or not at all."""

from __future__ import annotations

import os

from groundplane.base import quickjson
from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_LIMIT = 64 << 20  # bytes; the largest documents seen in the field are a few hundred kilobytes


def decode(text: str, what: str) -> Any:
    """The one JSON value of a text; `what` names it in the error. Raises GroundError."""
    try:
        return quickjson.decode(text)
    except (ValueError, RecursionError) as error:
        raise GroundError(f"{what}: not a JSON document: {_problem(text)}") from error


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
