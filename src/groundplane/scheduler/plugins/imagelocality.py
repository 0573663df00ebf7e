"""ImageLocality: a node that has the pod's images starts it sooner.

Upstream also scales by the share of nodes that have an image, to spread; here a node's score needs no other node.
"""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.scheduler.contract import MAX_SCORE, SKIP, Change, Skip
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase

_MB = 1024 * 1024
_LEAST = 23 * _MB  # image_locality.go minThreshold
_MOST = 1000 * _MB  # maxContainerThreshold, per container


class ImageLocality(PluginBase):
    name = "ImageLocality"
    wakes = Change(0)

    def sign(self, pod: PodInfo) -> Hashable:
        return tuple(_images(pod))

    def prepare_score(self, pod: PodInfo) -> list[str] | Skip:
        return _images(pod) or SKIP

    def score(self, state: list[str], node: NodeInfo) -> int:
        if not node.images:
            return 0
        most = _MOST * len(state)
        size = sum(node.images.get(name, 0) for name in state)
        return MAX_SCORE * (min(max(size, _LEAST), most) - _LEAST) // (most - _LEAST)


def _images(pod: PodInfo) -> list[str]:
    containers = (*(pod.spec.get("initContainers") or ()), *(pod.spec.get("containers") or ()))
    return [_tagged(container.get("image") or "") for container in containers]


def _tagged(name: str) -> str:
    """`web` is `web:latest`; a colon before the last slash belongs to a registry's port."""
    return name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
