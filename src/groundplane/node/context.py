"""What all workers of one node share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from groundplane.base.clock import Clock
from groundplane.client import resources
from groundplane.client.client import Client
from groundplane.client.events import Recorder
from groundplane.client.objects import object_reference
from groundplane.engine.contract import Engine
from groundplane.node.contract import Drain, Place
from groundplane.node.resources import Host
from groundplane.node.sources import ClusterSources
from groundplane.node.views import Pod
from groundplane.node.volumes.manager import Volumes


@dataclass(frozen=True, slots=True)
class Context:
    """`services` lists the Services known now."""

    place: Place
    client: Client
    engine: Engine
    clock: Clock
    recorder: Recorder
    sources: ClusterSources
    volumes: Volumes
    drain: Drain
    services: Callable[[], Iterable[dict[str, Any]]]
    host: Host

    def tell(self, pod: Pod, type: str, reason: str, message: str, container: str = "") -> None:
        """An event about the pod, or about one of its containers."""
        about = object_reference(pod, resources.PODS)
        if container:
            kind = (
                "initContainers"
                if any(c["name"] == container for c in pod["spec"].get("initContainers") or ())
                else "containers"
            )
            about["fieldPath"] = f"spec.{kind}{{{container}}}"
        self.recorder.event(about, type, reason, message)
