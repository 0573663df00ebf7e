"""One command's connection to the cluster, and how its words name objects."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from groundplane.base.clock import SystemClock
from groundplane.base.errors import GroundError, UsageError
from groundplane.cli.options import Option, Parsed, flag, many, text
from groundplane.cli.place import Place
from groundplane.cli.platform import kubeconfig
from groundplane.client import kubeconfig as files
from groundplane.client.client import Client, ResourceClient
from groundplane.client.contract import ApiError
from groundplane.client.https import HttpsTransport
from groundplane.client.resources import Resource
from groundplane.kinds import resources as kinds

T = TypeVar("T")
MANAGER = "ground"

NAMESPACE: tuple[Option, ...] = (text("namespace", "n", "name", "Namespace (default: the kubeconfig's)"),)
ALL_NAMESPACES = flag("all-namespaces", "A", "In all namespaces")
SELECTOR = text("selector", "l", "labels", "Only objects with these labels")
FILES = many("filename", "f", "file", "File, directory, or - for standard input")


class KubeError(GroundError):
    """The server refused, in kubectl's form of the sentence."""


class Session:
    """`namespace` is the wished one, else the kubeconfig's, else default."""

    def __init__(self, transport: HttpsTransport, namespace: str) -> None:
        self.transport = transport
        self.client = Client(transport)
        self.namespace = namespace

    def of(self, resource: Resource) -> ResourceClient:
        return self.client.of(resource)

    def scope(self, resource: Resource) -> str:
        return self.namespace if resource.namespaced else ""


def run_session(place: Place, parsed: Parsed, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do `work` with a connection to the cluster. Raises KubeError, GroundError."""
    path = os.environ.get("KUBECONFIG") or kubeconfig.path(place)
    access = files.load(path)

    async def main() -> T:
        transport = HttpsTransport(access, SystemClock(), "ground")
        try:
            return await work(Session(transport, parsed.text("namespace") or access.namespace or "default"))
        except ApiError as error:
            reason = f" ({error.reason})" if error.reason else ""
            raise KubeError(f"Error from server{reason}: {error}") from error
        finally:
            await transport.close()

    return asyncio.run(main())


def resource_named(word: str) -> Resource:
    """`po`, `pod`, `pods`, `deployments.apps`, `deployment.v1.apps`. Raises KubeError."""
    name, _, rest = word.lower().partition(".")
    for found in kinds.resources():
        names = {found.plural, found.singular, found.kind.lower(), *found.short_names}
        groups = {"", found.group, f"{found.version}.{found.group}".rstrip("."), found.version}
        if name in names and rest in groups:
            return Resource(found.group, found.version, found.plural, found.kind, found.namespaced)
    raise KubeError(f'error: the server doesn\'t have a resource type "{word}"')


def of_object(document: dict[str, object]) -> Resource:
    """The resource of a manifest's apiVersion and kind. Raises KubeError."""
    version, kind = str(document.get("apiVersion") or ""), str(document.get("kind") or "")
    group, _, bare = version.rpartition("/")
    found = kinds.by_kind(group, bare, kind)
    if found is None:
        raise KubeError(f'error: resource mapping not found: no matches for kind "{kind}" in version "{version}"')
    return Resource(found.group, found.version, found.plural, found.kind, found.namespaced)


def targets(words: list[str]) -> list[tuple[Resource, str]]:
    """`TYPE NAME…`, `TYPE/NAME…`, or `TYPE[,TYPE]` (then the name is empty). Raises UsageError, KubeError."""
    if not words:
        raise UsageError("you must specify the type of resource, as in `pods` or `deployment/web`")
    if any("/" in word for word in words):
        pairs = []
        for word in words:
            type_, slash, name = word.partition("/")
            if not slash or not name:
                raise UsageError(f"there is no need to specify a resource type as a separate argument: {word!r}")
            pairs.append((resource_named(type_), name))
        return pairs
    types = [resource_named(word) for word in words[0].split(",") if word]
    if len(words) == 1:
        return [(found, "") for found in types]
    return [(types[0], name) for name in words[1:]]


def shown_name(resource: Resource, name: str) -> str:
    """`deployment.apps/web`, as kubectl names what it did."""
    singular = resource.kind.lower()
    return f"{singular}.{resource.group}/{name}" if resource.group else f"{singular}/{name}"


def seconds_of(duration: str) -> float:
    """Go's durations as kubectl takes them: 30s, 1m30s, 0 (at once), -1s (a week). Raises UsageError."""
    import re

    if duration in ("0", ""):
        return 0.0
    if not re.fullmatch(r"-?(\d+(\.\d+)?(ms|h|m|s))+", duration):
        raise UsageError(f"duration {duration!r}: something like 30s or 1m30s expected")
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
    total = sum(float(n) * units[u] for n, _, u in re.findall(r"(\d+(\.\d+)?)(ms|h|m|s)", duration))
    return 7 * 86400.0 if duration.startswith("-") else total
