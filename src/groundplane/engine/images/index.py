"""The names of a store: an OCI layout's index.json, read once, held in memory, replaced durably at each change.

One descriptor for each name (annotation `org.opencontainers.image.ref.name`, the name in full) and one without the
annotation for an image that lost its last name: `<none>` in listings. So other tools read our store as a layout.
"""

from __future__ import annotations

import os

from groundplane.base import files
from groundplane.engine.contract import EngineError
from groundplane.oci.image import Descriptor, ImageDocumentError, Index, read_index

REF_NAME = "org.opencontainers.image.ref.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'  # image-layout.md


class NameIndex:
    """`names` maps a name in full to a manifest; `manifests` has each manifest once, named or not."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, "index.json")
        self.names: dict[str, Descriptor] = {}
        self.manifests: dict[str, Descriptor] = {}
        files.sweep(root)
        layout = os.path.join(root, "oci-layout")
        if not os.path.exists(layout):
            files.replace(layout, _LAYOUT, mode=0o644, durable=True)
        if os.path.exists(self._path):
            self._load()

    def _load(self) -> None:
        try:
            with open(self._path, "rb") as f:
                index = read_index(f.read())
        except ImageDocumentError as error:
            raise EngineError(
                f"image index {self._path}: {error}; put a good copy there, or remove it (names are lost, then)"
            ) from error
        for found in index.manifests:
            plain = Descriptor(found.media_type, found.digest, found.size)
            self.manifests[found.digest] = plain
            if name := found.annotations.get(REF_NAME):
                self.names[name] = plain

    def names_of(self, digest: str) -> list[str]:
        return sorted(name for name, found in self.names.items() if found.digest == digest)

    def set_name(self, name: str, manifest: Descriptor) -> None:
        self._replace({**self.names, name: manifest}, {**self.manifests, manifest.digest: manifest})

    def drop_names(self, names: list[str]) -> None:
        self._replace({n: d for n, d in self.names.items() if n not in names}, self.manifests)

    def drop_manifest(self, digest: str) -> None:
        names = {n: d for n, d in self.names.items() if d.digest != digest}
        self._replace(names, {m: d for m, d in self.manifests.items() if m != digest})

    def _replace(self, names: dict[str, Descriptor], manifests: dict[str, Descriptor]) -> None:
        """First the disk, then memory: a failed write leaves both as they were."""
        named = [Descriptor(d.media_type, d.digest, d.size, {REF_NAME: n}) for n, d in sorted(names.items())]
        held = {d.digest for d in names.values()}
        nameless = [d for digest, d in sorted(manifests.items()) if digest not in held]
        files.replace(self._path, Index([*named, *nameless]).encode(), mode=0o644, durable=True)
        self.names, self.manifests = names, manifests
