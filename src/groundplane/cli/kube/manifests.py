"""Manifests from files, directories and standard input."""

from __future__ import annotations

import os
import sys
from typing import Any

from groundplane.base.errors import UsageError
from groundplane.base.jsonyaml import DecodeError, yaml_documents

_ENDINGS = (".yaml", ".yml", ".json")


def read(names: list[str]) -> list[dict[str, Any]]:
    """Every object in the files, in order; List objects are opened. Raises UsageError naming file and fault."""
    if not names:
        raise UsageError("must specify --filename (-f) with a file, a directory, or - for standard input")
    objects: list[dict[str, Any]] = []
    for name in names:
        for path in _paths(name):
            objects += _objects(path)
    if not objects:
        raise UsageError(f"error: no objects passed to apply: {', '.join(names)} hold none")
    return objects


def _paths(name: str) -> list[str]:
    if name != "-" and os.path.isdir(name):
        return [os.path.join(name, n) for n in sorted(os.listdir(name)) if n.endswith(_ENDINGS)]
    return [name]


def _objects(path: str) -> list[dict[str, Any]]:
    try:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
        documents = yaml_documents(data)
    except OSError as error:
        raise UsageError(f'error: the path "{path}" cannot be read: {error.strerror}') from error
    except DecodeError as error:
        raise UsageError(f"error: error parsing {path}: {error}") from error
    objects: list[dict[str, Any]] = []
    for document in documents:
        if not isinstance(document, dict) or not document.get("kind") or not document.get("apiVersion"):
            raise UsageError(f"error: error validating {path}: apiVersion and kind must be set")
        if str(document["kind"]).endswith("List") and isinstance(document.get("items"), list):
            objects += document["items"]
        else:
            objects.append(document)
    return objects
