"""The scheduler's contract: what a plugin may say, when it is asked, and what each answer makes the scheduler do.

What it is for
    A pod without `spec.nodeName` becomes a pod with one. Plugins know why a node is impossible or better; the cycle
    knows in which order to ask; the loop knows how to write the answer.

Vocabulary
    *Snapshot*: the nodes with what runs on them. The cycle runs without an `await`, so the cache itself is the
    snapshot: nothing can change it while the cycle thinks.
    *Assumed*: decided but not yet shown by the API server; counted on its node like any other pod.
    *Class*: all pods for which every plugin gives the same signature. Plugins answer alike for all of them, so answers
    are kept per class and node, and asked anew only for nodes that changed (KEP-5598 signs pods for the same reason).

A pod's way (the extension points, in upstream's words)

    PreEnqueue    scheduling gates keep a pod out of the queue                                    queue.py
    QueueSort     higher priority first, then who waited longer                                   queue.py
    PreFilter     `prepare`: read the pod once; SKIP where the plugin has nothing to say          plugins/
    Filter        `filter`: a Rejection where the pod cannot run on the node                      plugins/
    PostFilter    nobody fits: preemption (not offered yet; its message says so as upstream's)    messages.py
    Score         `score`, then `normalize` over all nodes that fit; weighted sum                 plugins/
    Reserve       the cache assumes the pod on the best node; undone when binding fails           cache.py
    Bind          POST pods/NAME/binding                                                          loop.py

A pod that fits nowhere waits until something changes that one of the plugins that rejected it says may help
(`wakes`, `helps`: the queueing hints), or five minutes.

A worked example: three nodes, one tainted; a pod asking for 2 CPUs where the others have 1 left.
    TaintToleration.filter gives "node(s) had untolerated taint(s)" for one, NodeResourcesFit.filter "Insufficient cpu"
    for two. The event says `0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. …`. The
    pod waits for a taint to go, a node to come or grow, or a pod to end.

A plugin is one file under `plugins/`, named in `plugins/registry.py`, which also says the order and the weights.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Flag, auto
from typing import Any, Final, Protocol

from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo

MAX_SCORE = 100


class Skip:
    """`prepare` answers SKIP: this plugin is not asked about this class of pods."""


SKIP: Final = Skip()


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why not this node. `hopeless`: no eviction of other pods would help (UnschedulableAndUnresolvable)."""

    plugin: str
    reasons: tuple[str, ...]
    hopeless: bool = False


class Change(Flag):
    """What may make room for a pod."""

    NODE_ADDED = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    NODE_CAPACITY = auto()
    POD_ENDED = auto()  # a pod that was on a node is gone or finished


@dataclass(frozen=True, slots=True)
class Happening:
    """A change and the node it is about."""

    change: Change
    node: NodeInfo | None = None


class Plugin(Protocol):
    """What all plugins say."""

    name: str
    wakes: Change

    def sign(self, pod: PodInfo) -> Hashable:
        """Everything of the pod that this plugin's answers depend on, beside the node."""
        ...

    def helps(self, pod: PodInfo, happening: Happening) -> bool:
        """Whether what happened (one of `wakes`) can make this plugin change its mind about the pod."""
        ...


class FilterPlugin(Plugin, Protocol):
    """Says where a pod cannot run."""

    def prepare(self, pod: PodInfo) -> Any:
        """What `filter` needs of the pod, or SKIP."""
        ...

    def filter(self, state: Any, node: NodeInfo) -> Rejection | None: ...


class ScorePlugin(Plugin, Protocol):
    """Says where a pod had better run. Scores are 0 … MAX_SCORE after `normalize`."""

    normalizes: bool  # whether raw scores of all nodes that fit must be seen together

    def prepare_score(self, pod: PodInfo) -> Any:
        """What `score` needs of the pod, or SKIP."""
        ...

    def score(self, state: Any, node: NodeInfo) -> int: ...

    def normalize(self, raw: int, highest: int) -> int:
        """A raw score into 0 … MAX_SCORE, `highest` being the highest raw one. Only where `normalizes`."""
        ...
