"""Descriptor, image manifest and image index: the documents that tie an image's blobs together.

OCI image-spec 1.1 (descriptor.md, manifest.md, image-index.md) and Docker's schema 2, which has the same shape under
other media types. Readers are strict where a wrong value would do harm (digests, sizes, media types) and, as the
specification asks, ignore properties they do not know. No I/O: bytes in, values out, and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.base.jsonyaml import DecodeError, dumps, loads

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

# How a layer's tar is compressed, by media type. "Non-distributable" twins are deprecated but still pulled.
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
LAYER_COMPRESSION: Mapping[str, str] = {
    LAYER_TAR: "",
    f"{LAYER_TAR}+gzip": "gzip",
    f"{LAYER_TAR}+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    _DOCKER_LAYER: "",
    f"{_DOCKER_LAYER}.gzip": "gzip",
    f"{_DOCKER_LAYER}.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}

# A manifest that a registry or archive sends may be hostile: distribution-spec asks for at least 4 MiB, no more.
MAX_DOCUMENT = 4 << 20
_MAX_LAYERS = 500  # the kernel's own bound on overlay's lower directories (OVL_MAX_STACK)
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}\Z")


class ImageDocumentError(GroundError):
    """A manifest, index, configuration or layer is not what the OCI image specification allows."""


@dataclass(frozen=True, slots=True)
class Platform:
    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob by media type, digest (sha256 only) and size in bytes."""

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    def document(self) -> dict[str, Any]:
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        if self.platform:
            out["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                out["platform"]["variant"] = self.platform.variant
        return out


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, bottom first."""

    config: Descriptor
    layers: Sequence[Descriptor]
    media_type: str = MANIFEST
    annotations: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        out: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.document(),
            "layers": [layer.document() for layer in self.layers],
        }
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        return dumps(out)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests: of the platforms of one image, or (an OCI layout's index.json) of all images of a store."""

    manifests: Sequence[Descriptor]
    media_type: str = INDEX

    def encode(self) -> bytes:
        manifests = [m.document() for m in self.manifests]
        return dumps({"schemaVersion": 2, "mediaType": self.media_type, "manifests": manifests})


def check_digest(text: object, where: str) -> str:
    """The digest, if it is a well-formed SHA-256 (the only algorithm offered). Raises ImageDocumentError."""
    if not isinstance(text, str) or not _SHA256.match(text):
        shown = repr(text)[:90]
        raise ImageDocumentError(f"{where}: a digest `sha256:<64 hex digits>` expected, {shown} found")
    return text


def read_document(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises ImageDocumentError."""
    if len(data) > MAX_DOCUMENT:
        raise ImageDocumentError(f"{what}: {len(data)} bytes are more than the {MAX_DOCUMENT} allowed")
    try:
        document = loads(data)
    except DecodeError as error:
        raise ImageDocumentError(f"{what}: {error}") from error
    if not isinstance(document, dict):
        raise ImageDocumentError(f"{what}: a JSON object expected, {type(document).__name__} found")
    return document


def read_descriptor(value: object, where: str) -> Descriptor:
    document = _object(value, where)
    size = document.get("size")
    # bool is an int in Python; a size of `true` is a wrong document
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise ImageDocumentError(f"{where}.size: a number of bytes expected, {size!r} found")
    platform = document.get("platform")
    return Descriptor(
        media_type=_string(document.get("mediaType"), f"{where}.mediaType"),
        digest=check_digest(document.get("digest"), f"{where}.digest"),
        size=size,
        annotations=read_string_map(document.get("annotations"), f"{where}.annotations"),
        platform=None if platform is None else _platform(platform, f"{where}.platform"),
    )


def read_manifest(data: bytes) -> Manifest:
    """An image manifest (OCI, or Docker's schema 2). Raises ImageDocumentError."""
    document = _schema_2(data, "image manifest")
    media_type = document.get("mediaType", MANIFEST)
    if media_type not in (MANIFEST, DOCKER_MANIFEST):
        raise ImageDocumentError(f"image manifest: media type {media_type!r} is not an image manifest")
    # manifest.md "Image Manifest Property Descriptions": a document with `manifests` beside `layers` is ambiguous
    if "manifests" in document or "fsLayers" in document:
        raise ImageDocumentError("image manifest: it is an index, or of schema 1, at the same time")
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise ImageDocumentError("image manifest: layers: a list expected")
    if len(layers) > _MAX_LAYERS:
        raise ImageDocumentError(f"image manifest: {len(layers)} layers are more than the {_MAX_LAYERS} allowed")
    return Manifest(
        config=read_descriptor(document.get("config"), "image manifest: config"),
        layers=tuple(read_descriptor(layer, f"image manifest: layers[{i}]") for i, layer in enumerate(layers)),
        media_type=media_type,
        annotations=read_string_map(document.get("annotations"), "image manifest: annotations"),
    )


def read_index(data: bytes) -> Index:
    """An image index (OCI, or Docker's manifest list). Raises ImageDocumentError."""
    document = _schema_2(data, "image index")
    media_type = document.get("mediaType", INDEX)
    if media_type not in (INDEX, DOCKER_INDEX):
        raise ImageDocumentError(f"image index: media type {media_type!r} is not an image index")
    if "layers" in document or "config" in document:
        raise ImageDocumentError("image index: it is an image manifest at the same time")
    manifests = document.get("manifests")
    if not isinstance(manifests, list):
        raise ImageDocumentError("image index: manifests: a list expected")
    found = tuple(read_descriptor(m, f"image index: manifests[{i}]") for i, m in enumerate(manifests))
    return Index(found, media_type)


def read_string_map(value: object, where: str) -> dict[str, str]:
    """An object whose values are strings; null and absence are an empty one. Raises ImageDocumentError."""
    if value is None:
        return {}
    document = _object(value, where)
    for key, item in document.items():
        if not isinstance(item, str):
            raise ImageDocumentError(f"{where}[{key!r}]: a string expected, {type(item).__name__} found")
    return document


def _schema_2(data: bytes, what: str) -> dict[str, Any]:
    document = read_document(data, what)
    if document.get("schemaVersion") != 2 or isinstance(document.get("schemaVersion"), bool):
        raise ImageDocumentError(f"{what}: schemaVersion must be 2, not {document.get('schemaVersion')!r}")
    return document


def _platform(value: object, where: str) -> Platform:
    document = _object(value, where)
    return Platform(
        os=_string(document.get("os"), f"{where}.os"),
        architecture=_string(document.get("architecture"), f"{where}.architecture"),
        variant=_string(document.get("variant", ""), f"{where}.variant"),
    )


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ImageDocumentError(f"{where}: a JSON object expected, {type(value).__name__} found")
    return value


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ImageDocumentError(f"{where}: a string expected, {type(value).__name__} found")
    return value
