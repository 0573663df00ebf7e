"""JSON files of the command line: read with one sentence for what is wrong, written whole or not at all."""

from __future__ import annotations

import os

from groundplane.base.errors import GroundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LIMIT = 64 << 20  # bytes; the largest documents seen in the field are a few hundred kilobytes


def read_json(path: str) -> Any:
    """The decoded document. Raises FileNotFoundError, GroundError."""
    import json

    with open(path, "rb") as file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise GroundError(f"{path}: larger than {_LIMIT} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise GroundError(f"{path}: not a JSON document: {error}") from error


def write_json(path: str, document: Any) -> None:
    """Write beside it and rename over it. Raises OSError."""
    import json

    temporary = f"{path}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.rename(temporary, path)


def read_config_file(directory: str) -> dict[str, Any]:
    """A bundle's config.json. Raises GroundError."""
    try:
        document = read_json(f"{directory}/config.json")
    except FileNotFoundError:
        raise GroundError("JSON specification file config.json not found") from None
    except OSError as error:
        raise GroundError(f"open config.json: {os.strerror(error.errno or 0).lower()}") from error
    if not isinstance(document, dict):
        raise GroundError("config.json: an object is expected")
    return document
