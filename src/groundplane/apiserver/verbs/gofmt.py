"""Values and complaints as Go prints them: fmt's `%+v` and `%q`, and the converter of unstructured objects.

Strategic merge patches never become JSON again upstream, so their complaints are those of
k8s.io/apimachinery/pkg/runtime/converter.go, and show the patch as a Go map.
"""

from __future__ import annotations

from typing import Any

from groundplane.base import jsonyaml

_SCALARS = ("string", "bool", "int32", "int64", "float64")
_KINDS = {"object": "map", "array": "slice"}  # what JSON calls it, what Go's reflection calls it


def value(given: Any) -> str:
    """`%+v` of a decoded JSON value: `map[a:1 b:[x y]]`, keys sorted."""
    match given:
        case dict():
            return f"map[{' '.join(f'{key}:{value(given[key])}' for key in sorted(given))}]"
        case list():
            return f"[{' '.join(map(value, given))}]"
        case None:
            return "<nil>"
        case bool():
            return "true" if given else "false"
    return str(given)


def quoted(text: str) -> str:
    """`%q`."""
    return jsonyaml.dumps(text).decode()


def mismatch(given: str, wanted: str) -> str:
    """The converter's words for a JSON value of kind `given` where the Go type `wanted` stands."""
    word = given.partition(" ")[0]  # `number 3` → number
    if wanted in _SCALARS:
        return f"unrecognized type: {wanted}"
    kind = _KINDS.get(word, {"number": "int64"}.get(word, word))
    if wanted.startswith("map["):
        return f"cannot restore map from {kind}"
    if wanted.startswith("[]"):
        return f"cannot restore slice from {kind}"
    return f"cannot restore struct from: {kind}"
