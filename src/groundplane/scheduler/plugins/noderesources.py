"""NodeResourcesFit and NodeResourcesBalancedAllocation: what is free, and how evenly it is used."""

from __future__ import annotations

from collections.abc import Hashable

from groundplane.scheduler.contract import MAX_SCORE, SKIP, Change, Happening, Rejection, Skip
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.base import PluginBase


def _signature(pod: PodInfo) -> Hashable:
    return (tuple(sorted(pod.requests.items())), pod.cpu, pod.memory)


class NodeResourcesFit(PluginBase):
    """Requests must fit into what is allocatable; the score is upstream's default, LeastAllocated."""

    name = "NodeResourcesFit"
    wakes = Change.NODE_ADDED | Change.NODE_CAPACITY | Change.POD_ENDED

    def sign(self, pod: PodInfo) -> Hashable:
        return _signature(pod)

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        return happening.node is None or self.filter(self.prepare(pod), happening.node) is None

    def prepare(self, pod: PodInfo) -> dict[str, int]:
        return pod.requests

    def filter(self, state: dict[str, int], node: NodeInfo) -> Rejection | None:
        allocatable, requested = node.allocatable, node.requested
        for resource, value in state.items():
            if value > allocatable.get(resource, 0) - requested.get(resource, 0):
                return self._short(state, node)
        if len(node.pods) + 1 > allocatable.get("pods", 0):
            return self._short(state, node)
        return None

    def _short(self, state: dict[str, int], node: NodeInfo) -> Rejection:
        """All that is short. What an empty node could not give either, no eviction can help."""
        reasons = []
        hopeless = False
        if len(node.pods) + 1 > node.allocatable.get("pods", 0):
            reasons.append("Too many pods")
        for resource, value in state.items():
            total = node.allocatable.get(resource, 0)
            if value > total - node.requested.get(resource, 0):
                reasons.append(f"Insufficient {resource}")
                hopeless = hopeless or value > total
        return Rejection(self.name, tuple(reasons), hopeless)

    def prepare_score(self, pod: PodInfo) -> tuple[int, int]:
        return pod.cpu, pod.memory

    def score(self, state: tuple[int, int], node: NodeInfo) -> int:
        """LeastAllocated: the free share of cpu and memory, after this pod, on average."""
        total, kinds = 0, 0
        cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
        if cpu:
            total += max(cpu - node.cpu - state[0], 0) * MAX_SCORE // cpu
            kinds += 1
        if memory:
            total += max(memory - node.memory - state[1], 0) * MAX_SCORE // memory
            kinds += 1
        return total // kinds if kinds else 0


class BalancedAllocation(PluginBase):
    """The nearer the used shares of cpu and memory, the better. Pods that request nothing do not care."""

    name = "NodeResourcesBalancedAllocation"
    wakes = Change(0)

    def sign(self, pod: PodInfo) -> Hashable:
        return _signature(pod)

    def prepare_score(self, pod: PodInfo) -> tuple[int, int] | Skip:
        cpu, memory = pod.requests.get("cpu", 0), pod.requests.get("memory", 0)
        return (cpu, memory) if cpu or memory else SKIP

    def score(self, state: tuple[int, int], node: NodeInfo) -> int:
        cpu, memory = node.allocatable.get("cpu", 0), node.allocatable.get("memory", 0)
        if not cpu or not memory:
            return MAX_SCORE
        one = min((node.requested.get("cpu", 0) + state[0]) / cpu, 1.0)
        other = min((node.requested.get("memory", 0) + state[1]) / memory, 1.0)
        return int((1 - abs(one - other) / 2) * MAX_SCORE)  # the standard deviation of two values
