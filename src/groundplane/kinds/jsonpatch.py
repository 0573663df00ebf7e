"""JSON Patch (RFC 6902) over plain values; neither the document nor the patch given is ever changed."""

from __future__ import annotations

from typing import Any

from groundplane.base import jsonyaml
from groundplane.base.errors import GroundError

# k8s.io/apiserver/pkg/endpoints/handlers/patch.go, maxJSONPatchOperations; server/config.go, JSONPatchMaxCopyBytes.
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 << 20


class PatchError(GroundError):
    """The patch is malformed (`bad_request`), longer than is allowed (`too_large`), or does not fit this document."""

    def __init__(self, message: str, *, bad_request: bool = False, too_large: bool = False) -> None:
        super().__init__(message)
        self.bad_request = bad_request
        self.too_large = too_large


def apply(document: Any, patch: Any) -> Any:
    """The document with every operation applied in order. Raises PatchError; then nothing was applied."""
    if not isinstance(patch, list):
        raise PatchError("json patch must be a list of operations", bad_request=True)
    if len(patch) > MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(patch)}"
        raise PatchError(limit, too_large=True)
    root = [_copied(document)]
    copied = 0
    for operation in patch:
        if not isinstance(operation, dict) or not isinstance(operation.get("op"), str):
            raise PatchError("json patch operation must be an object with a string op", bad_request=True)
        copied += _apply_one(root, operation)
        if copied > MAX_COPIED:
            raise PatchError(f"the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}")
    return root[0]


def _apply_one(root: list[Any], operation: dict[str, Any]) -> int:
    """Change what is in `root`, which is nobody else's; how many bytes were copied within it."""
    op = operation["op"]
    path = _pointer(operation, "path")
    match op:
        case "add":
            _add(root, path, _copied(_given(operation)))
        case "replace":
            _get(root[0], path)
            _replace(root, path, _copied(_given(operation)))
        case "remove":
            _remove(root, path)
        case "test":
            if not _equal(_get(root[0], path, missing_is_none=True), operation.get("value")):
                raise PatchError(f"testing value {_text(path)} failed: test failed")
        case "copy":
            value = _get(root[0], _pointer(operation, "from"))
            size = len(jsonyaml.dumps(value))
            if size <= MAX_COPIED:
                _add(root, path, _copied(value))
            return size
        case "move":
            source = _pointer(operation, "from")
            value = _get(root[0], source)
            if path[: len(source)] == source and len(path) > len(source):
                raise PatchError(f"unable to move {_text(source)} into its own child {_text(path)}")
            _remove(root, source)
            _add(root, path, value)
        case _:
            raise PatchError(f"Unexpected kind: {op}")
    return 0


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_copied(v) for v in value]
    return value


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
        elif isinstance(document, list) and (at := _number(token)) is not None and at < len(document):
            document = document[at]
        elif missing_is_none:
            return None
        else:
            raise PatchError(f"path {_text(path)} does not exist: missing value")
    return document


def _parent(root: list[Any], path: list[str]) -> Any:
    """What holds the value at `path`, which is not empty."""
    parent = _get(root[0], path[:-1], missing_is_none=True)
    if not isinstance(parent, (dict, list)):
        raise PatchError(f"path {_text(path)} does not exist: missing value")
    return parent


def _add(root: list[Any], path: list[str], value: Any) -> None:
    if not path:
        root[0] = value
        return
    parent = _parent(root, path)
    if isinstance(parent, dict):
        parent[path[-1]] = value
    elif path[-1] == "-":
        parent.append(value)
    else:
        parent.insert(_index(path, len(parent)), value)


def _replace(root: list[Any], path: list[str], value: Any) -> None:
    if not path:
        root[0] = value
        return
    parent = _parent(root, path)
    parent[path[-1] if isinstance(parent, dict) else _index(path, len(parent) - 1)] = value


def _remove(root: list[Any], path: list[str]) -> None:
    if not path:
        root[0] = None
        return
    parent = _parent(root, path)
    if isinstance(parent, list):
        del parent[_index(path, len(parent) - 1)]
    elif path[-1] in parent:
        del parent[path[-1]]
    else:
        raise PatchError(f"unable to remove nonexistent key: {path[-1]}: missing value")


def _number(token: str) -> int | None:
    """A list's index; digits of other scripts, and more digits than any list is long, are none."""
    return int(token) if token.isascii() and token.isdigit() and len(token) < 10 else None


def _index(path: list[str], highest: int) -> int:
    at = _number(path[-1])
    if at is None or at > highest:
        raise PatchError(f"unable to access invalid index at {_text(path)}: invalid index referenced")
    return at


def _equal(a: Any, b: Any) -> bool:
    """JSON equality: true is not 1 (RFC 6902 §4.6)."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
