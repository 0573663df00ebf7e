"""Which plugins run, in upstream's order, and their weights (pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from dataclasses import dataclass

from groundplane.scheduler.contract import FilterPlugin, ScorePlugin
from groundplane.scheduler.plugins.imagelocality import ImageLocality
from groundplane.scheduler.plugins.nodeaffinity import NodeAffinity
from groundplane.scheduler.plugins.nodename import NodeName
from groundplane.scheduler.plugins.nodeports import NodePorts
from groundplane.scheduler.plugins.noderesources import BalancedAllocation, NodeResourcesFit
from groundplane.scheduler.plugins.nodeunschedulable import NodeUnschedulable
from groundplane.scheduler.plugins.tainttoleration import TaintToleration


@dataclass(frozen=True, slots=True)
class Profile:
    """Filters in the order in which they are asked; scorers with their weights."""

    filters: tuple[FilterPlugin, ...]
    scorers: tuple[tuple[ScorePlugin, int], ...]


def default_profile() -> Profile:
    taints, affinity, fit = TaintToleration(), NodeAffinity(), NodeResourcesFit()
    return Profile(
        filters=(NodeUnschedulable(), NodeName(), taints, affinity, NodePorts(), fit),
        scorers=((taints, 3), (affinity, 2), (fit, 1), (BalancedAllocation(), 1), (ImageLocality(), 1)),
    )
