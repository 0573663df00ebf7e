"""Kills while the node removes a former attempt of a container (plan's `remove`), of pods that go on running.

Two attempts fail, the third is made after the back-off of 10 seconds and stays; kubelet then keeps one dead attempt
and removes the other. Many pods do so at about the same time: each kill meets another one's removal.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.real.kill_points import step_of
from tests.real.platform_rig import Object
from tests.real.pod_life import Kill, Lives, Point, Watch
from tests.real.storm import PODS, is_ready

_SCRIPT = """\
n=0; test -e /seen/n && read n < /seen/n; n=$((n+1)); echo $n > /seen/n; echo run $n
[ $n -le 2 ] && exit 3
exec sleep 1000"""
_BACK_OFF = 25.0  # seconds until a removal is seen at the latest: 10 of them are the back-off


def removal_points(lives: Lives) -> list[Point]:
    """What the daemon does to remove a dead container, from how the lives' last one was removed."""
    done = [
        point for point, _ in lives.points["death"] if step_of("death", point) == "remove" and point.role == "groundd"
    ]
    calls = dict.fromkeys(point.call.replace("C2", "C*").replace("c/1", "c/0") for point in done if "C2" in point.call)
    return [Point("groundd", call, 1) for call in calls]


def remove_amid(lives: Lives, kills: list[Kill]) -> list[str]:
    """One more pod than kills; the kills that did not take place."""
    names = [f"crash-{number}" for number in range(len(kills) + 1)]
    for name in names:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": _spec()}
        lives.storm.retry("POST", PODS, body)
    _all(lives, names, _waits, "waits for its third attempt")
    missed = []
    while kills:
        last = next((n for n, kill in enumerate(kills) if kill.victim == "groundd"), len(kills) - 1)
        now, kills = kills[: last + 1], kills[last + 1 :]
        [before] = lives.storm.pids("groundd")
        watch = Watch(lives.platform, lives.storm, *now)
        watch.await_kills(_BACK_OFF)
        if not watch.end()[0]:
            missed += [str(kill) for kill in now]
        elif now[-1].victim == "groundd":
            lives.storm.eventually(lambda: lives.storm.pids("groundd") not in ([], [before]), "the daemon is back")  # noqa: B023
    _all(lives, names, _runs, "runs at its third attempt")
    _judge(lives, names)
    for name in names:
        lives.storm.retry("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0", accept=(200, 404))
    lives.judge_empty()
    return missed


def _judge(lives: Lives, names: list[str]) -> None:
    root = lives.platform.root
    lives.storm.eventually(lambda: len(os.listdir(root / "containers")) == 2 * len(names), "two containers a pod")
    assert not [name for name in os.listdir(root / "containers") if name.startswith(".")]
    assert len(os.listdir(root / "sandboxes")) == len(names)
    for name in names:
        log, former = lives.api.log(name), lives.api.log(name, "?previous=true")
        assert (log, former) == ("run 3\n", "run 2\n"), name
    lives.storm.eventually(
        lambda: (
            sorted(path.name for path in (root / "node" / "logs").rglob("*.log"))
            == sorted(["1.log", "2.log"] * len(names))
        ),
        "two logs a pod",
    )


def _all(lives: Lives, names: list[str], so: Callable[[Object], bool], what: str) -> None:
    for name in names:
        try:
            lives.storm.eventually(lambda: so(lives.api.pod(name)), f"{name} {what}")  # noqa: B023 because it is called now
        except AssertionError as error:
            raise AssertionError(f"{error}: {lives.api.pod(name)['status']['containerStatuses']}") from None


def _waits(pod: Object) -> bool:
    [one] = pod["status"].get("containerStatuses") or [{}]
    return one.get("restartCount") == 1 and "waiting" in one["state"]


def _runs(pod: Object) -> bool:
    return is_ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 2


def _spec() -> Object:
    container = {"name": "c", "image": "box:v1", "command": ["sh", "-c", _SCRIPT]}
    container["volumeMounts"] = [{"name": "seen", "mountPath": "/seen"}]  # type: ignore[assignment]
    volumes = [{"name": "seen", "emptyDir": {"medium": "Memory"}}]
    return {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": volumes}
