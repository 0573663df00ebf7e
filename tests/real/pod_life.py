"""One pod's life on a platform, with a kill in its beginning and a kill at its end, and what must hold nevertheless.

created ──► init container ──► container, which fails once ──► the same, running ──► asked to end ──► gone
└────────────────────────── birth ─────────────────────────────┘└───────────── death ──────────────────┘
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.real.instance_state import difference, state
from tests.real.platform_rig import Object, Platform
from tests.real.resident_processes import is_supervisor, is_zygote
from tests.real.storm import PODS, Storm, is_ready

NAME = "life"
_SCRIPT = """\
n=0; test -e /seen/n && read n < /seen/n; n=$((n+1)); echo $n > /seen/n; echo run $n; echo error $n >&2
[ $n = 1 ] && exit 3
trap 'echo asked; exit 0' TERM
sleep 1000 & wait"""
_INIT = "i=0; test -e /seen/i && read i < /seen/i; echo $((i+1)) > /seen/i; echo init $((i+1))"


@dataclass(frozen=True)
class Point:
    """Right before the `nth` of these calls of processes in this role since the phase began."""

    role: str
    call: str
    nth: int

    def __str__(self) -> str:
        return f"{self.role}: {self.call} ({self.nth})"


@dataclass(frozen=True)
class Kill:
    victim: str
    at: Point

    def __str__(self) -> str:
        return f"{self.victim} killed before {self.at}"


class Watch:
    """tests/real/watcher.py over a platform's processes as they are now."""

    def __init__(self, platform: Platform, storm: Storm, *kills: Kill) -> None:
        pids = {"groundd": storm.pids("groundd"), "spawner": storm.pids("spawner")}
        storm.eventually(lambda: any(map(is_zygote, storm.pids("supervisor"))), "the zygote waits for orders")
        named = storm.pids("supervisor")
        pids |= {"zygote": [*filter(is_zygote, named)], "supervisor": [*filter(is_supervisor, named)]}
        order: Object = {"root": str(platform.root), "run": str(platform.run_dir), "pids": pids}
        order["kills"] = [{**kill.at.__dict__, "victim": kill.victim} for kill in kills]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.real.watcher", json.dumps(order)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n", "the watcher cannot trace"

    def await_kills(self, seconds: float) -> None:
        """Until all kills have taken place, or the time is over."""
        select.select([self._process.stdout], [], [], seconds)

    def end(self) -> tuple[bool, list[tuple[Point, bool]]]:
        """Whether the kill took place; else what was seen, and whether a supervisor was there."""
        said, _ = self._process.communicate(timeout=20)
        if said.startswith("killed"):
            return True, []
        return False, [(Point(role, call, nth), alive) for role, call, nth, alive in json.loads(said)]


class Lives:
    """Pods of one kind, one after the other, on one platform."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.api = platform, platform.api
        self.storm = Storm(platform, 0)
        self.empty: Counter[str] = Counter()
        self.full: Counter[str] = Counter()
        self.points: dict[str, list[tuple[Point, bool]]] = {}

    def learn(self) -> None:
        """Two undisturbed lives: the first makes what all share, the second is the measure of all others.

        Points that only one of them has reached (one write to the store more or less) are left out.
        """
        self._service()
        self.live(None, None)
        first = {name: {point for point, _ in seen} for name, seen in self.points.items()}
        self.empty = state(self.platform)
        self._phase("birth", None, self._begin)
        self._judge_logs()  # with its first output a supervisor makes more files
        self.full = state(self.platform)
        self._phase("death", None, self._end)
        self.judge_empty()
        for name, seen in self.points.items():
            self.points[name] = [(point, alive) for point, alive in seen if point in first[name]]

    def live(self, birth: Kill | None, death: Kill | None) -> list[Kill]:
        """One life; the kills that did not take place, because their points were not reached."""
        missed = self._phase("birth", birth, self._begin)
        if self.full:
            self._judge_full()
        missed += self._phase("death", death, self._end)
        if self.empty:
            self.judge_empty()
        victims = {kill.victim for kill in (birth, death) if kill is not None}
        if "groundd" in victims and "spawner" not in victims:
            self._forget_deaths()
        return missed

    def _phase(self, name: str, kill: Kill | None, work: object) -> list[Kill]:
        assert callable(work)
        with self._watched(kill) as outcome:
            work()
        killed, seen = outcome
        if kill is None:
            self.points[name] = seen
        return [] if killed or kill is None else [kill]

    @contextmanager
    def _watched(self, kill: Kill | None) -> Iterator[list]:  # type: ignore[type-arg]
        watch = Watch(self.platform, self.storm, *(() if kill is None else (kill,)))
        outcome: list[object] = []
        try:
            yield outcome
        finally:
            if kill is not None:
                watch.await_kills(2.0)  # what is written last may come after the pod is ready
            outcome += watch.end()

    def _forget_deaths(self) -> None:
        """Another spawner starts a daemon that dies at once, not with the back-off of the former one's deaths."""
        [pid] = self.storm.pids("spawner")
        os.kill(pid, signal.SIGKILL)
        self._calm()

    def _calm(self) -> None:
        """Daemon and spawner are there and answer."""
        self.storm.eventually(
            lambda: len(self.storm.pids("groundd")) == len(self.storm.pids("spawner")) == 1, "daemon and spawner live"
        )
        self.storm.retry("GET", "/readyz")

    # the pod

    def _service(self) -> None:
        service = {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": 8080}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME}, "spec": service}
        self.api.call("POST", "/api/v1/namespaces/default/services", body)

    def _begin(self) -> None:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": NAME, "labels": {"app": NAME}}, "spec": _spec()}
        self.storm.retry("POST", PODS, body, accept=(201, 409))  # 409: it was written before the answer was lost
        self._uid = self.storm.retry("GET", f"{PODS}/{NAME}")["metadata"]["uid"]
        self.storm.eventually(self._is_running, f"{NAME} is ready after its restart")

    def _is_running(self) -> bool:
        pod = self.api.pod(NAME)
        return is_ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] == 1

    def _end(self) -> None:
        self.storm.retry("DELETE", f"{PODS}/{NAME}", accept=(200, 404))
        self.storm.eventually(lambda: self.api.find(f"{PODS}/{NAME}") is None, f"{NAME} is gone")

    # what must hold

    def _judge_full(self) -> None:
        self._calm()
        self._same(self.full, "while the pod runs")
        pod = self.storm.retry("GET", f"{PODS}/{NAME}")
        assert pod["metadata"]["uid"] == self._uid
        status = pod["status"]
        assert status["phase"] == "Running"
        assert {c["type"]: c["status"] for c in status["conditions"]} == dict.fromkeys(_CONDITIONS, "True")
        [init], [main] = status["initContainerStatuses"], status["containerStatuses"]
        assert (init["restartCount"], init["ready"], init["state"]["terminated"]["exitCode"]) == (0, True, 0), init
        assert (main["restartCount"], main["ready"], main["started"]) == (1, True, True), main
        assert list(main["state"]) == ["running"], main
        last = main["lastState"]["terminated"]
        assert (last["exitCode"], last["reason"]) == (3, "Error"), main
        for ended in (init["state"]["terminated"], last):
            assert ended["startedAt"] and ended["startedAt"] <= ended["finishedAt"], ended
        self._judge_logs()

    def _judge_logs(self) -> None:
        for query, lines in {
            "?container=i": ["init 1"],
            "?container=c&previous=true": ["error 1", "run 1"],
            "?container=c": ["error 2", "run 2"],
        }.items():
            self.storm.eventually(
                lambda query=query, lines=lines: sorted(self.api.log(NAME, query).splitlines()) == lines,  # type: ignore[misc]
                f"the log {query} is {lines}",
            )

    def judge_empty(self) -> None:
        self._calm()
        self._same(self.empty, "after the pod")

    def _same(self, expected: Counter[str], when: str) -> None:
        found: list[str] = []

        def alike() -> bool:
            found[:] = difference(state(self.platform), expected)
            return not found

        try:
            self.storm.eventually(alike, f"the host {when} as it is after an undisturbed life", 30)
        except AssertionError:
            raise AssertionError(f"{when}, the host is not as after an undisturbed life: {found}") from None


_CONDITIONS = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


def _spec() -> Object:
    seen = [{"name": "seen", "mountPath": "/seen"}]
    common = {"image": "box:v1", "volumeMounts": seen}
    return {
        "terminationGracePeriodSeconds": 5,
        "initContainers": [{"name": "i", "command": ["sh", "-c", _INIT], **common}],
        "containers": [{"name": "c", "command": ["sh", "-c", _SCRIPT], **common}],
        "volumes": [{"name": "seen", "emptyDir": {"medium": "Memory"}}],
    }
