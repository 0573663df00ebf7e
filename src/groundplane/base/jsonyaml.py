"""JSON and YAML as Kubernetes reads and writes them: orjson for JSON, libyaml with kubectl's scalar rules for YAML."""

from __future__ import annotations

from typing import Any

import orjson

from groundplane.base.errors import GroundError


class DecodeError(GroundError):
    """The bytes are not a JSON or YAML document."""


def dumps(value: Any) -> bytes:
    return orjson.dumps(value)


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
        return [d for d in yaml.load_all(data, Loader=_loader()) if d is not None]
    except yaml.YAMLError as error:
        raise DecodeError(f"not a YAML document: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError, TypeError) as error:
        raise DecodeError(f"not a YAML document: {error}") from error


def yaml_dumps(value: Any) -> str:
    """Block style, keys sorted, as `kubectl -o yaml` prints."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(value, Dumper=dumper, default_flow_style=False, sort_keys=True, allow_unicode=True, width=2**31 - 1)


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return str(key)


_LOADER: Any = None


def _loader() -> Any:
    """CSafeLoader with the scalar rules of sigs.k8s.io/yaml: YAML 1.1 booleans, but dates stay strings."""
    global _LOADER
    if _LOADER is None:
        import yaml

        base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

        class Loader(base):  # type: ignore[misc, valid-type]
            def construct_mapping(self, node: Any, deep: bool = False) -> dict[str, Any]:
                # JSON's keys are strings; sigs.k8s.io/yaml writes `on: 1` as `"true": 1`.
                return {_key(k): v for k, v in super().construct_mapping(node, deep=deep).items()}

        # sigs.k8s.io/yaml (go-yaml v2) has no timestamp in JSON: an unquoted date is a string.
        Loader.yaml_implicit_resolvers = {
            first: [(tag, regexp) for tag, regexp in pairs if tag != "tag:yaml.org,2002:timestamp"]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }
        _LOADER = Loader
    return _LOADER
