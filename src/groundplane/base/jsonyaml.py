"""JSON and YAML as Kubernetes reads and writes them: orjson for JSON, libyaml with kubectl's scalar rules for YAML."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any, ClassVar

import orjson

from groundplane.base.errors import GroundError


class DecodeError(GroundError):
    """The bytes are not a JSON or YAML document."""


def dumps(value: Any) -> bytes:
    """Raises RecursionError for what is nested more than 254 levels deep, which is orjson's limit."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        if "Recursion" in str(error):
            raise RecursionError(str(error)) from error
        raise


def dumps_pretty(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def loads(data: bytes | str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"not a JSON document: {error}") from error


def yaml_loads(data: bytes | str) -> Any:
    """The one document of a YAML text. Raises DecodeError."""
    documents = yaml_documents(data)
    if len(documents) > 1:
        raise DecodeError(f"one YAML document expected, {len(documents)} found")
    return documents[0] if documents else None


def yaml_documents(data: bytes | str) -> list[Any]:
    """All documents of a YAML (or JSON) text; empty documents are left out. Raises DecodeError."""
    import yaml  # late: 20 ms that JSON-only callers do not need

    try:
        _refuse_deep(data)
        loader, found = _loader()(data), []
        try:
            while loader.check_node():
                node = loader.get_node()
                _refuse_bombs(node, data)
                found.append(loader.construct_document(node))
        finally:
            loader.dispose()
        return [d for d in found if d is not None]
    except yaml.YAMLError as error:
        raise DecodeError(f"not a YAML document: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError, TypeError) as error:
        raise DecodeError(f"not a YAML document: {error}") from error


# go-yaml's limit. libyaml's composer is recursive C: some 25,000 levels overflow the stack, which no handler sees.
_DEPTH = 10_000
_ALIASED = 1_000_000  # values that aliases may stand for, all together


def _refuse_deep(data: bytes | str) -> None:
    """Raises DecodeError before anything that recurses is asked to read `data`."""
    import yaml

    text = data if isinstance(data, bytes) else data.encode("utf-8", "replace")
    # Each flow collection begins with a bracket; block collections nest by columns, two at each at most.
    if text.count(b"[") + text.count(b"{") + 2 * max(map(len, text.split(b"\n"))) < _DEPTH:
        return
    depth = 0
    for event in yaml.parse(data, Loader=_loader()):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise DecodeError(f"yaml: exceeded max depth of {_DEPTH}")


def _refuse_bombs(node: Any, data: bytes | str) -> None:
    """Aliases of aliases of aliases: a few lines that stand for billions of values, or for themselves."""
    if not (b"*" in data if isinstance(data, bytes) else "*" in data):
        return
    sizes: dict[int, int] = {}

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is None:
            sizes[id(node)] = 0  # until it is known: whoever meets it meets itself
            inner = node.value if isinstance(node.value, list) else ()
            parts = (part for item in inner for part in (item if isinstance(item, tuple) else (item,)))
            known = sizes[id(node)] = 1 + sum(map(size, parts))
        elif not known:
            raise DecodeError("yaml: anchor value contains itself")
        return known

    whole = size(node)
    if whole > len(sizes) and (whole > _ALIASED or whole > 1000 + 100 * len(sizes)):
        raise DecodeError("yaml: document contains excessive aliasing")


def yaml_dumps(value: Any) -> str:
    """Block style, keys sorted, as `kubectl -o yaml` prints."""
    import yaml

    return yaml.dump(
        value, Dumper=_dumper(), default_flow_style=False, sort_keys=True, allow_unicode=True, width=2**31 - 1
    )


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return str(key)


# Plain scalars as go-yaml v2 (sigs.k8s.io/yaml) resolves them: YAML 1.1's booleans with `y` and `n`, no base 60
# (`22:22` is a string), exponents without a dot, no timestamps (an unquoted date is a string).
_BOOL = r"^(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$"
_INT = r"^(?:[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*))$"
_FLOAT = r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"


_STRING = "tag:yaml.org,2002:str"
_LOOKS_ELSE = re.compile(
    r"^(?:[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)$"
)


def _resolvers(base: Any) -> dict[str, list[tuple[str, Any]]]:
    """`base`'s table of first character → (tag, pattern) with the scalars above."""
    tag = "tag:yaml.org,2002:"
    ours = (("bool", _BOOL, "yYnNtTfFoO"), ("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789."))
    table: dict[str, list[tuple[str, Any]]] = {
        first: [(t, p) for t, p in pairs if t not in {tag + n for n in ("bool", "int", "float", "timestamp")}]
        for first, pairs in base.yaml_implicit_resolvers.items()
    }
    for name, pattern, firsts in ours:
        for first in firsts:
            table.setdefault(first, []).append((tag + name, re.compile(pattern)))
    return table


@cache
def _loader() -> Any:
    import yaml

    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]
        bool_values: ClassVar[dict[str, bool]] = {**base.bool_values, "y": True, "n": False}
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = _resolvers(base)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
            # JSON's keys are strings; sigs.k8s.io/yaml writes `on: 1` as `"true": 1`.
            return {_key(k): v for k, v in super().construct_mapping(node, deep=deep).items()}

        def integer(self, node: Any) -> int | float | str:
            """What 64 bits do not hold is a float to go-yaml, and what that does not hold a string."""
            text = str(node.value)
            value = self.construct_yaml_int(node) if len(text) < 1000 else None
            if value is not None and -(1 << 63) <= value < 1 << 64:
                return int(value)
            try:
                found = float(text if value is None else value)
            except (ValueError, OverflowError):
                return text
            return text if math.isinf(found) else found

        def binary(self, node: Any) -> str:
            return bytes(self.construct_yaml_binary(node)).decode("utf-8", "replace")

    tag = "tag:yaml.org,2002:"
    Loader.add_constructor(tag + "int", Loader.integer)
    Loader.add_constructor(tag + "binary", Loader.binary)
    Loader.add_constructor(tag + "set", base.construct_yaml_map)
    return Loader


@cache
def _dumper() -> Any:
    """A dumper that writes strings as go-yaml does: several lines as a block, what looks like another type in quotes.

    Dates and numbers of base 60 are strings to our loader, and are quoted all the same: other readers know them.
    """
    import yaml

    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

    class Dumper(base):  # type: ignore[misc, valid-type]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = _resolvers(base)

    def string(dumper: Any, text: str) -> Any:
        style = None
        if "\n" in text:
            style = "|"
        elif _LOOKS_ELSE.match(text) or dumper.resolve(yaml.ScalarNode, text, (True, False)) != _STRING:
            style = '"'
        return dumper.represent_scalar(_STRING, text, style=style)

    Dumper.add_representer(str, string)
    return Dumper
