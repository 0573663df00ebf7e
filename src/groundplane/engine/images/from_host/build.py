"""The image of a wish: two layers (programs; what was added), a configuration, a manifest, a name."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from groundplane.base.clock import rfc3339
from groundplane.base.jsonyaml import dumps
from groundplane.engine.contract import ImageInfo
from groundplane.engine.images.from_host.adds import add_files
from groundplane.engine.images.from_host.contract import DEFAULT_PATH, FromHost, FromHostError
from groundplane.engine.images.from_host.layers import LayerCache, make_layer, newest
from groundplane.engine.images.from_host.libraries import Libraries, read_cache
from groundplane.engine.images.from_host.programs import Programs
from groundplane.engine.images.from_host.system import add_system
from groundplane.engine.images.from_host.tree import Tree
from groundplane.engine.images.store import ImageStore
from groundplane.oci.image import CONFIG, Descriptor, Manifest
from groundplane.oci.image_names import BadReference, parse_reference

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x"}
_PORT = re.compile(r"([0-9]{1,5})(/(tcp|udp|sctp))?\Z")


@dataclass(frozen=True, slots=True)
class Made:
    """The image, and what may be missing in it (libraries of added files that this host does not have)."""

    image: ImageInfo
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    base: Tree
    added: Tree
    path: str
    warnings: tuple[str, ...]


async def make_image(store: ImageStore, cache_directory: str, wish: FromHost) -> Made:
    """Make it; the name moves to it last, so that an error leaves everything as it was. Raises FromHostError."""
    return await store.change(lambda: _make(store, LayerCache(cache_directory), wish))


def _make(store: ImageStore, cache: LayerCache, wish: FromHost) -> Made:
    settings = _settings(wish)
    plan = _plan(wish)
    cache.prune(store.blobs)
    epoch = wish.source_date_epoch
    layers = [make_layer(plan.base, store.blobs, cache, epoch)]
    if plan.added.nodes:
        layers.append(make_layer(plan.added, store.blobs, cache, epoch))
    created = rfc3339(max(newest(plan.base, epoch), newest(plan.added, epoch)))
    settings["Env"] = [f"{k}={v}" for k, v in {"PATH": plan.path, **wish.env}.items()]
    steps = [f"programs {' '.join(wish.programs)}", "added files"]
    machine = os.uname().machine
    config = dumps(
        {
            "created": created,
            "architecture": _ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created": created, "created_by": f"from-host: {s}"} for s in steps[: len(layers)]],
        }
    )
    descriptor = Descriptor(CONFIG, store.blobs.put(config), len(config))
    manifest = store.blobs.put(Manifest(descriptor, layers).encode())
    return Made(store.set_name(wish.name, manifest), plan.warnings)


def _plan(wish: FromHost) -> _Plan:
    """Decide what will be in the image. Reads the host, writes nothing."""
    if not wish.programs:
        raise FromHostError("no program is named; an image needs at least one")
    base = Tree(forbidden=wish.forbidden)
    programs = Programs(base, Libraries(read_cache()), wish.search_path)
    add_system(base)
    for program in wish.programs:
        if not program.startswith("/"):
            raise FromHostError(f"{program}: the program must be an absolute path")
        programs.add(program)
    added = Tree(base, wish.forbidden)
    for add in wish.adds:
        add_files(added, add, programs)
    programs.finish()
    if wish.working_dir and added.get(where := added.place(wish.working_dir)) is None and where:
        added.directory(wish.working_dir)
    path = ":".join([*programs.directories, DEFAULT_PATH])
    return _Plan(base, added, path, tuple(dict.fromkeys(programs.warnings)))


def _settings(wish: FromHost) -> dict[str, Any]:
    """The configuration's `config`, with the wish's words checked. Raises FromHostError."""
    try:
        reference = parse_reference(wish.name)
    except BadReference as error:
        raise FromHostError(f"--name {wish.name}: {error}") from error
    if reference.digest:
        raise FromHostError(f"--name {wish.name}: a name, not a digest, is given to an image")
    if wish.working_dir and not wish.working_dir.startswith("/"):
        raise FromHostError(f"--workdir {wish.working_dir}: it must be an absolute path")
    for name in wish.env:
        if not name or "=" in name or "\0" in name + wish.env[name]:
            raise FromHostError(f"--env {name}: `NAME=value` expected")
    ports: dict[str, dict[str, str]] = {}
    for port in wish.exposed_ports:
        match = _PORT.match(port)
        if match is None or not 0 < int(match[1]) < 65536:
            raise FromHostError(f"--expose {port}: `PORT` or `PORT/tcp|udp|sctp` expected")
        ports[f"{int(match[1])}{match[2] or '/tcp'}"] = {}
    settings: dict[str, Any] = {"User": wish.user} if wish.user else {}
    settings["Env"] = []
    if wish.entrypoint:
        settings["Entrypoint"] = list(wish.entrypoint)
    if wish.command:
        settings["Cmd"] = list(wish.command)
    elif not wish.entrypoint:
        settings["Cmd"] = list(wish.programs[:1])
    if wish.working_dir:
        settings["WorkingDir"] = wish.working_dir
    if wish.labels:
        settings["Labels"] = dict(wish.labels)
    if ports:
        settings["ExposedPorts"] = ports
    return settings
