"""API objects as Kubernetes protobuf, and back: the envelope's kind says which message it is."""

from __future__ import annotations

from functools import cache

from groundplane.apiserver.cache.stored import Object
from groundplane.kinds import protobuf, schema
from groundplane.wire import kubeproto
from groundplane.wire.kubeproto import DecodeError, EncodeError, frame

__all__ = ["DecodeError", "EncodeError", "decode", "encode", "frame"]

# Kinds of the meta group travel under every group's name (meta/v1 AddToGroupVersion), and under their own.
_META = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList", "Status", "WatchEvent", "DeleteOptions"})


@cache
def _codec() -> kubeproto.Codec:
    return kubeproto.Codec(protobuf.describe)


def _name(api_version: str, kind: str) -> str:
    """The message of a kind, an empty string where it has none."""
    if kind in _META:
        return f"meta.v1.{kind}"
    group, version = schema.split_api_version(api_version)
    type_ = schema.type_of(group, version, kind)
    return type_.name if type_ is not None else ""


def encode(obj: Object) -> bytes:
    """The body of an answer. Raises EncodeError for what has no message (a Table, a custom resource)."""
    api_version, kind = obj.get("apiVersion", "v1"), obj["kind"]  # the core group's discovery names no version
    name = _name(api_version, kind)
    if not name:
        raise EncodeError(f"protobuf: {kind} of {api_version} has no message")
    return kubeproto.wrap(api_version, kind, _codec().encode(name, obj))


def decode(body: bytes) -> Object:
    """The object of a request's body. Raises DecodeError."""
    api_version, kind, message = kubeproto.unwrap(body)
    name = _name(api_version, kind)
    if not name:
        raise DecodeError(f'no kind "{kind}" is registered for version "{api_version}"')
    return {"kind": kind, "apiVersion": api_version, **_codec().decode(name, message)}
