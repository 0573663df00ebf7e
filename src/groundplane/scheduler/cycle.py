"""The decision: which node for this pod. Pure over the cache: no I/O, no clock, no await.

For each class of pods (see contract) a `Ranking` holds, per node, the rejection or the score, and a heap of the nodes
that fit. After a pod was placed only its node changed, so the next pod of the class costs one node's filters and scores
and a heap operation, not a walk over the cluster. Upstream instead looks at a sample of the nodes (46 % of 500).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from groundplane.scheduler.cache import Cache
from groundplane.scheduler.contract import SKIP, FilterPlugin, Rejection, ScorePlugin
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.registry import Profile

MAX_CLASSES = 128

Fit = tuple[int, tuple[int, ...]]
"""What a node that fits scores: the weighted sum of the local scores, and the raw relative ones."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """No node fits: how many nodes there are, how many for which reason, how many hopelessly, and who said so."""

    nodes: int
    reasons: Counter[str]
    hopeless: int
    plugins: frozenset[str]


class Cycle:
    """Decides for one profile over one cache."""

    def __init__(self, profile: Profile, cache: Cache, chance: random.Random) -> None:
        self._profile = profile
        self._cache = cache
        self._chance = chance
        self._rankings: OrderedDict[Hashable, Ranking] = OrderedDict()

    def decide(self, pod: PodInfo) -> NodeInfo | Misfit:
        """The best node, one of the best by chance where several are; or why there is none."""
        ranking = self._ranking(pod)
        ranking.refresh()
        return ranking.best() or ranking.misfit()

    def _ranking(self, pod: PodInfo) -> Ranking:
        if pod.signature is None:
            pod.signature = self.sign(pod)
        if (found := self._rankings.get(pod.signature)) is None:
            found = self._rankings[pod.signature] = Ranking(self._profile, self._cache, pod, self._chance)
            if len(self._rankings) > MAX_CLASSES:
                self._rankings.popitem(last=False)
        else:
            self._rankings.move_to_end(pod.signature)
        return found

    def sign(self, pod: PodInfo) -> Hashable:
        """The pod's class."""
        plugins: Iterable[Any] = (*self._profile.filters, *(scorer for scorer, _ in self._profile.scorers))
        return tuple(plugin.sign(pod) for plugin in plugins)


class Ranking:
    """What every plugin says about every node for one class of pods, brought up to date on demand."""

    def __init__(self, profile: Profile, cache: Cache, pod: PodInfo, chance: random.Random) -> None:
        self._cache = cache
        self._chance = chance
        self._filters: list[tuple[FilterPlugin, Any]] = [
            (plugin, state) for plugin in profile.filters if (state := plugin.prepare(pod)) is not SKIP
        ]
        self._local: list[tuple[ScorePlugin, Any, int]] = []
        self._relative: list[tuple[ScorePlugin, Any, int]] = []
        for scorer, weight in profile.scorers:
            if (state := scorer.prepare_score(pod)) is not SKIP:
                (self._relative if scorer.normalizes else self._local).append((scorer, state, weight))
        self._generation = -1
        self._rejections: dict[str, Rejection] = {}
        self._fits: dict[str, Fit] = {}
        self._none = (0,) * len(self._relative)
        self._highest = [0] * len(self._relative)  # of the raw relative scores of all nodes that fit
        self._stamps: dict[str, int] = {}  # which heap entry of a node counts
        self._heap: list[tuple[int, float, str, int]] = []
        self._stamp = 0

    def refresh(self) -> None:
        """Ask the plugins about every node that changed since the last time."""
        changed = list(self._cache.changed_since(self._generation))
        self._generation = self._cache.generation
        moved = False
        for name, node in changed:
            old = self._fits.pop(name, None)
            self._rejections.pop(name, None)
            self._stamps.pop(name, None)
            if node is not None:
                self._ask(name, node)
            moved = self._moves_highest(old, self._fits.get(name)) or moved
        if moved or len(self._heap) > 4 * len(self._fits) + 64:
            self._rebuild()
            return
        for name, _ in changed:
            if name in self._fits:
                self._push(name)

    def _moves_highest(self, old: Fit | None, new: Fit | None) -> bool:
        """Whether a node that changed may have changed the highest relative scores, and so everybody's total."""
        before, after = old[1] if old else self._none, new[1] if new else self._none
        if before == after:
            return False
        return any(b == top > 0 or a > top for b, a, top in zip(before, after, self._highest, strict=True))

    def best(self) -> NodeInfo | None:
        while self._heap:
            _, _, name, stamp = self._heap[0]
            if self._stamps.get(name) == stamp:
                return self._cache.nodes[name]
            heapq.heappop(self._heap)
        return None

    def misfit(self) -> Misfit:
        rejections = self._rejections.values()
        return Misfit(
            nodes=len(self._cache.nodes),
            reasons=Counter(reason for rejection in rejections for reason in rejection.reasons),
            hopeless=sum(1 for rejection in rejections if rejection.hopeless),
            plugins=frozenset(rejection.plugin for rejection in rejections),
        )

    def _ask(self, name: str, node: NodeInfo) -> None:
        for plugin, state in self._filters:
            if (rejection := plugin.filter(state, node)) is not None:
                self._rejections[name] = rejection
                return
        local = 0
        for scorer, state, weight in self._local:
            local += weight * scorer.score(state, node)
        self._fits[name] = (local, tuple(scorer.score(state, node) for scorer, state, _ in self._relative))

    def _push(self, name: str) -> None:
        """Into the heap with its total. Where all relative scores are zero they add the same to every node."""
        total, relative = self._fits[name]
        for (scorer, _, weight), raw, top in zip(self._relative, relative, self._highest, strict=True):
            if top:
                total += weight * scorer.normalize(raw, top)
        self._stamp += 1
        self._stamps[name] = self._stamp
        heapq.heappush(self._heap, (-total, self._chance.random(), name, self._stamp))

    def _rebuild(self) -> None:
        """Score all nodes that fit together, and start a new heap."""
        self._heap.clear()
        self._stamps.clear()
        raw = [relative for _, relative in self._fits.values()]
        self._highest = [max((r[i] for r in raw), default=0) for i in range(len(self._relative))]
        for name in self._fits:
            self._push(name)
