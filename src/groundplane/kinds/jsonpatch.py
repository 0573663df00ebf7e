"""JSON Patch (RFC 6902) over plain values; the document given is never changed, untouched parts are shared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplane.base.errors import GroundError

# k8s.io/apiserver/pkg/endpoints/handlers/patch.go, maxJSONPatchOperations.
MAX_OPERATIONS = 10_000


class PatchError(GroundError):
    """The patch is malformed (`bad_request`), or it does not fit this document."""

    def __init__(self, message: str, *, bad_request: bool = False) -> None:
        super().__init__(message)
        self.bad_request = bad_request


def apply(document: Any, patch: Any) -> Any:
    """The document with every operation applied in order. Raises PatchError; then nothing was applied."""
    if not isinstance(patch, list):
        raise PatchError("json patch must be a list of operations", bad_request=True)
    for operation in patch:
        if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
            raise PatchError("json patch operation must be an object with a string op", bad_request=True)
        document = _apply_one(document, operation)
    return document


def _apply_one(document: Any, operation: dict[str, Any]) -> Any:
    op = operation["op"]
    path = _pointer(operation, "path")
    match op:
        case "add":
            return _edit(document, path, _add, _given(operation), path)
        case "replace":
            _get(document, path)
            return _edit(document, path, _set, _given(operation), path)
        case "remove":
            return _edit(document, path, _remove, None, path)
        case "test":
            if not _equal(_get(document, path, missing_is_none=True), operation.get("value")):
                raise PatchError(f"testing value {_text(path)} failed: test failed")
            return document
        case "copy":
            return _edit(document, path, _add, _get(document, _pointer(operation, "from")), path)
        case "move":
            source = _pointer(operation, "from")
            value = _get(document, source)
            if path[: len(source)] == source and len(path) > len(source):
                raise PatchError(f"unable to move {_text(source)} into its own child {_text(path)}")
            return _edit(_edit(document, source, _remove, None, source), path, _add, value, path)
    raise PatchError(f"Unexpected kind: {op}")


def _given(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation['op']} operation does not have a value")
    return operation["value"]


def _pointer(operation: dict[str, Any], name: str) -> list[str]:
    text = operation.get(name)
    if not isinstance(text, str):
        raise PatchError(f"{operation['op']} operation does not have a {name}")
    if text and not text.startswith("/"):
        raise PatchError(f"{operation['op']} operation: {name} {text!r} is not a JSON pointer (RFC 6901)")
    return [t.replace("~1", "/").replace("~0", "~") for t in text.split("/")[1:]]


def _text(path: list[str]) -> str:
    return "/" + "/".join(t.replace("~", "~0").replace("/", "~1") for t in path)


def _get(document: Any, path: list[str], *, missing_is_none: bool = False) -> Any:
    for token in path:
        if isinstance(document, dict) and token in document:
            document = document[token]
        elif isinstance(document, list) and token.isdigit() and int(token) < len(document):
            document = document[int(token)]
        elif missing_is_none:
            return None
        else:
            raise PatchError(f"path {_text(path)} does not exist: missing value")
    return document


def _edit(
    document: Any, path: list[str], change: Callable[[Any, str, Any, list[str]], Any], value: Any, whole: list[str]
) -> Any:
    """Copy the containers along `path` and let `change` edit the last one's copy."""
    if not path:
        return value
    if not isinstance(document, (dict, list)):
        raise PatchError(f"path {_text(whole)} does not exist: missing value")
    if len(path) == 1:
        return change(document.copy(), path[0], value, whole)
    child = _get(document, path[:1], missing_is_none=True)
    if child is None:
        raise PatchError(f"path {_text(whole)} does not exist: missing value")
    result: Any = document.copy()
    result[path[0] if isinstance(result, dict) else int(path[0])] = _edit(child, path[1:], change, value, whole)
    return result


def _add(container: Any, token: str, value: Any, whole: list[str]) -> Any:
    if isinstance(container, dict):
        container[token] = value
    elif token == "-":
        container.append(value)
    else:
        container.insert(_index(token, len(container), whole), value)
    return container


def _set(container: Any, token: str, value: Any, whole: list[str]) -> Any:
    container[token if isinstance(container, dict) else _index(token, len(container) - 1, whole)] = value
    return container


def _remove(container: Any, token: str, _value: Any, whole: list[str]) -> Any:
    if isinstance(container, dict):
        if token not in container:
            raise PatchError(f"unable to remove nonexistent key: {token}: missing value")
        del container[token]
    else:
        del container[_index(token, len(container) - 1, whole)]
    return container


def _index(token: str, highest: int, whole: list[str]) -> int:
    if not token.isdigit() or int(token) > highest:
        raise PatchError(f"unable to access invalid index at {_text(whole)}: invalid index referenced")
    return int(token)


def _equal(a: Any, b: Any) -> bool:
    """JSON equality: true is not 1 (RFC 6902 §4.6)."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
