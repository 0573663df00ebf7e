"""A pod's life with groundd, the spawner or a supervisor killed with -9 right before each call that has an effect.

The moments are enumerated, not drawn: a life is watched (`watcher.py`), and each call that changes something outside
of its process is a boundary between two steps. Here runs an even selection that has each step of a plan for each
victim; GROUND_KILLS=all runs all of them, GROUND_KILLS=N every N-th (docs/quality/robustness.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.real import kill_points
from tests.real.crash_loop import removal_points, remove_amid
from tests.real.kill_points import Kill, kills, neighbours, pairs, spread, step_of
from tests.real.platform_rig import Platform, platform
from tests.real.pod_life import Lives
from tests.real.storm import images

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay", "ip", "nft", "ptrace")
LONG = os.environ.get("GROUND_KILLS", "")
ADDRESS = "10.23.0.1"
_STARTS = {"start init container", "start container", "restart container"}


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    with platform(ADDRESS) as made:
        yield ready(made)


def ready(made: Platform) -> Lives:
    images(made)
    lives = Lives(made)
    lives.learn()
    return lives


def test_kills_between_the_steps_of_a_pods_life(lives: Lives) -> None:
    every = {phase: kills(phase, lives.points[phase]) for phase in ("birth", "death")}
    births, deaths = spread("birth", every["birth"], 20), spread("death", every["death"], 18)
    for victim in kill_points.VICTIMS:
        assert _steps("birth", births, victim) >= {*_STARTS, "report"}
        assert _steps("death", deaths, victim) >= {"kill", "end"}
    for victim in ("groundd", "spawner"):
        assert _steps("birth", births, victim) >= {"create sandbox", "volumes"}
        assert _steps("death", deaths, victim) >= {"remove", "clean", "report"}
    for pair in pairs(births, deaths):
        for missed in lives.live(*pair):
            phase = "birth" if missed == pair[0] else "death"
            _live_beside(lives, phase, [missed, *neighbours(phase, every[phase], missed)])


def _live_beside(lives: Lives, phase: str, others: list[Kill]) -> None:
    """After a point that a life has not reached, as the scheduler chooses what is written at once."""
    reached = (not lives.live(*((other, None) if phase == "birth" else (None, other))) for other in others[:6])
    assert any(reached), f"none was reached: {[str(other) for other in others[:6]]}"


def _steps(phase: str, chosen: list[Kill], victim: str) -> set[str]:
    return {step_of(phase, kill.at) for kill in chosen if kill.victim == victim}


def test_kills_while_a_former_attempt_is_removed(lives: Lives) -> None:
    points = removal_points(lives)
    chosen = [points[n * (len(points) - 1) // 4] for n in range(5)]
    # A spawner whose daemon dies before it has started another one leaves nobody who would: daemons go first.
    victims = ("groundd", "groundd", "groundd", "spawner", "supervisor")
    assert remove_amid(lives, [Kill(victim, point) for victim, point in zip(victims, chosen, strict=True)]) == []


@pytest.mark.skipif(not LONG, reason="the long form: GROUND_KILLS=all")
def test_every_kill() -> None:
    every = 1 if LONG == "all" else int(LONG)
    waiting: list[tuple[Kill | None, Kill | None]] | None = None
    faults: list[str] = []
    count = 0
    while waiting is None or waiting:
        try:
            with platform(ADDRESS) as made:
                lives = ready(made)
                if waiting is None:
                    births, deaths = (kills(phase, lives.points[phase]) for phase in ("birth", "death"))
                    waiting = pairs(births, deaths)[::every]
                while waiting:
                    pair = waiting.pop(0)
                    count += 1
                    faults += [f"not reached: {name}" for name in lives.live(*pair)]
        except AssertionError as error:  # a platform that has shown a fault is replaced
            faults.append(f"{pair[0]}; {pair[1]}: {error}")
            print(faults[-1], flush=True)
    print(f"{count} lives, {len(faults)} faults")
    assert faults == []


@pytest.mark.skipif(not LONG, reason="the long form: GROUND_KILLS=all")
def test_every_kill_of_the_daemon_while_a_former_attempt_is_removed(lives: Lives) -> None:
    points = removal_points(lives)
    for batch in (points[start : start + 10] for start in range(0, len(points), 10)):
        assert remove_amid(lives, [Kill("groundd", point) for point in batch]) == []
