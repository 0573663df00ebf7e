"""The image configuration: what a container of the image runs by default, and the digests of its unpacked layers.

OCI image-spec 1.1 config.md; Docker's has the same fields and a few more. The document itself is kept (it is what
`inspect` shows and what the image's id is the digest of); this reads the parts that something here acts on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundplane.oci.image import ImageDocumentError, check_digest, read_document, read_string_map


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The read parts of a configuration; `document` is all of it. Absent lists are empty, absent strings `""`."""

    document: Mapping[str, Any]
    architecture: str
    os: str
    diff_ids: Sequence[str]  # bottom first, one per layer
    env: Sequence[str] = ()  # KEY=value
    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    exposed_ports: Sequence[str] = ()
    volumes: Sequence[str] = ()


def read_config(data: bytes) -> ImageConfig:
    """Raises ImageDocumentError."""
    document = read_document(data, "image configuration")
    settings = document.get("config")
    settings = {} if settings is None else settings
    if not isinstance(settings, dict):
        raise ImageDocumentError("image configuration: config: a JSON object expected")
    history = document.get("history")
    if history is not None and not (isinstance(history, list) and all(isinstance(step, dict) for step in history)):
        raise ImageDocumentError("image configuration: history: a list of objects expected")
    for name in ("created", "author", "variant"):
        _text(document, name)
    env = _strings(settings, "Env")
    for item in env:
        if "=" not in item or item.startswith("="):
            raise ImageDocumentError(f"image configuration: config.Env: `NAME=value` expected, {item!r} found")
    return ImageConfig(
        document=document,
        architecture=_text(document, "architecture"),
        os=_text(document, "os"),
        diff_ids=_diff_ids(document),
        env=env,
        entrypoint=_strings(settings, "Entrypoint"),
        cmd=_strings(settings, "Cmd"),
        working_dir=_text(settings, "WorkingDir"),
        user=_text(settings, "User"),
        stop_signal=_text(settings, "StopSignal"),
        labels=read_string_map(settings.get("Labels"), "image configuration: config.Labels"),
        exposed_ports=_keys(settings, "ExposedPorts"),
        volumes=_keys(settings, "Volumes"),
    )


def chain_id(diff_ids: Sequence[str]) -> str:
    """The name of a stack of layers, bottom first (config.md "Layer ChainID")."""
    from hashlib import sha256  # late: 1 ms that readers of documents do not need

    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def _diff_ids(document: Mapping[str, Any]) -> tuple[str, ...]:
    rootfs = document.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":
        raise ImageDocumentError("image configuration: rootfs: an object of type `layers` expected")
    found = rootfs.get("diff_ids")
    if found is None:  # Go writes an empty list as null
        return ()
    if not isinstance(found, list):
        raise ImageDocumentError("image configuration: rootfs.diff_ids: a list expected")
    return tuple(check_digest(d, f"image configuration: rootfs.diff_ids[{i}]") for i, d in enumerate(found))


def _strings(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ImageDocumentError(f"image configuration: config.{name}: a list of strings expected")
    return tuple(value)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ImageDocumentError(f"image configuration: {name}: a string expected, {type(value).__name__} found")
    return value


def _keys(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise ImageDocumentError(f"image configuration: config.{name}: a JSON object expected")
    return tuple(value)
