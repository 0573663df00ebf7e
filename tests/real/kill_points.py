"""Every moment at which groundd, the spawner and a supervisor are killed, from what a watched life of a pod has shown.

A moment lies right before an effectful call of one of the processes that carry out a plan; right after a call is right
before the next one. Which step of the plan a call belongs to (node/plan.py) is read from what it touches.
"""

from __future__ import annotations

import re

from tests.real.pod_life import Kill, Point

VICTIMS = ("groundd", "spawner", "supervisor")
HELPERS = ("agent",)  # a short-lived child of the spawner that makes a sandbox's namespaces
# What a container's init does in its own namespaces is seen by its launcher and its supervisor only.
_UNSEEN = {"groundd": {"init"}, "spawner": {"init"}}
_STEPS = {
    "birth": (
        (r"/store/", "report"),
        (r"node/pods/UID/(?!containers)", "volumes"),
        (r"say Pin|SANDBOX|networks/|netlink|podUID(/[a-z._]+)?$", "create sandbox"),
        (r"", "start"),
    ),
    "death": (
        (r"/store/", "report"),
        (r"pidfd_send_signal", "kill"),
        (r"containers/\.?C\d|snapshots/|RUN/c/C\d$|config\.json|node/logs/\S+\.log", "remove"),
        (r"", "clean"),
    ),
}
_STARTS = {"C1": "start init container", "C2": "start container", "C3": "restart container"}
_LOGS = {"i": "C1", "c": "C2", "c/0": "C2", "c/1": "C3"}


def step_of(phase: str, point: Point) -> str:
    """`create sandbox`, `volumes`, `start init container`, `start container`, `restart container`, `report`; `kill`,
    `end`, `remove`, `clean`.
    """
    if phase == "birth" and (point.role == "agent" or point == Point("spawner", "fork", 1)):
        return "create sandbox"
    if point.role not in ("groundd", "spawner") or re.search(r"C1/(exit|\.state)|snapshots/containers/C1/", point.call):
        step = "start" if phase == "birth" else "end"
    else:
        step = next(step for pattern, step in _STEPS[phase] if re.search(pattern, point.call))
    return _start_of(point) if step == "start" else step


def _start_of(point: Point) -> str:
    """Which container is started, from its id, from its log's name, or from how often the same was done before."""
    if found := re.search(r"\bC[123]\b", point.call):
        return _STARTS[found[0]]
    if found := re.search(r"node/(?:logs/[^/]+|pods/UID/containers)/(i|c(?:/\d)?)", point.call):
        return _STARTS[_LOGS[found[1]]]
    return _STARTS[f"C{min(point.nth, 3)}"]


def kills(phase: str, seen: list[tuple[Point, bool]]) -> list[Kill]:
    """All of them, a victim after the other."""
    found = [
        Kill(victim, point)
        for victim in VICTIMS
        for point, supervised in seen
        if point.role not in _UNSEEN.get(victim, ()) and (victim != "supervisor" or supervised)
    ]
    return found + [Kill(role, point) for role in HELPERS for point, _ in seen if point.role == role]


def spread(phase: str, every: list[Kill], count: int) -> list[Kill]:
    """About `count` of them: evenly, and at least one of each step for each victim."""
    groups: dict[tuple[str, str], list[Kill]] = {}
    for kill in every:
        groups.setdefault((kill.victim, step_of(phase, kill.at)), []).append(kill)
    chosen = []
    for group in groups.values():
        share = max(1, round(count * len(group) / len(every)))
        chosen += [group[(2 * n + 1) * len(group) // (2 * share)] for n in range(share)]
    return chosen


def neighbours(phase: str, every: list[Kill], kill: Kill) -> list[Kill]:
    """The other kills of the same victim in the same step, the nearest first."""
    at = every.index(kill)
    alike = [
        n for n, k in enumerate(every) if k.victim == kill.victim and step_of(phase, k.at) == step_of(phase, kill.at)
    ]
    return [every[n] for n in sorted(alike, key=lambda n: abs(n - at))[1:]]


def pairs(births: list[Kill], deaths: list[Kill]) -> list[tuple[Kill | None, Kill | None]]:
    """A kill in the beginning and one at the end for each life, of different victims where that can be.

    Another victim at the end, because a spawner that was replaced has forgotten its daemon's deaths.
    """
    waiting = {victim: [kill for kill in deaths if kill.victim == victim] for victim in (*VICTIMS, *HELPERS)}
    found: list[tuple[Kill | None, Kill | None]] = []
    for birth in births:
        others = [victim for victim in VICTIMS if victim != birth.victim and waiting[victim]]
        most = max(others, key=lambda victim: len(waiting[victim]), default="")
        found.append((birth, waiting[most].pop(0) if most else None))
    rest = [kill for victim in VICTIMS for kill in waiting[victim]]
    return found + [(None, kill) for kill in rest]
