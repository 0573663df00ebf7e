"""Repeating one container's probes with their delays, periods and thresholds (pkg/kubelet/prober/worker.go).

A startup probe holds back the other two until it has succeeded. Liveness begins as healthy, readiness as not ready,
startup as not started. Each change is told once through `changed`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from groundplane.base.clock import Clock
from groundplane.base.tasks import Tasks
from groundplane.engine.contract import Containers, EngineError
from groundplane.node.probes.checks import Answer, ProbeError, check
from groundplane.node.views import ContainerSpec, Verdict

# A container just started is asked again soon whether it is ready, because a rollout waits for the answer.
_EARLY = 2.0
# kubelet learns of a started container up to a second later; a server that needs that second is not told off for it.
_LIVENESS_DELAY = 1.0
_SOON = 0.1
PROBES = ("startup", "liveness", "readiness")

Tell = Callable[[str, str], None]
"""(probe's name, what came of it in words): for the event Unhealthy."""


class Prober:
    """The probes of one attempt of one container. `verdict` is the newest answer; `stop` ends it.

    `before` is what an earlier life of this node had found, which holds until a probe says otherwise. `age` are the
    seconds since the container was started.
    """

    def __init__(
        self,
        container: ContainerSpec,
        container_id: str,
        address: str,
        engine: Containers,
        clock: Clock,
        changed: Callable[[], None],
        failed: Tell,
        before: Verdict | None = None,
        age: float = 0.0,
    ) -> None:
        self._container = container
        self._id = container_id
        self._address = address
        self._engine = engine
        self._clock = clock
        self._changed = changed
        self._failed = failed
        self._tasks = Tasks(f"probes/{container['name']}")
        self._running: dict[str, asyncio.Task[None]] = {}
        before = before or Verdict(started=False, ready=False)
        startup, readiness = (bool(container.get(f"{name}Probe")) for name in ("startup", "readiness"))
        self.verdict = Verdict(started=before.started or not startup, ready=before.ready or not readiness)
        self._born = clock.monotonic() - age
        if self.verdict.started:
            self._start("liveness", "readiness")
        else:
            self._start("startup")

    def _start(self, *names: str) -> None:
        for name in names:
            if self._container.get(f"{name}Probe"):
                self._running[name] = self._tasks.start(name, self._repeat(name))

    def only_readiness(self) -> None:
        """The container is to end: nobody will judge any more whether it lives."""
        for name in ("startup", "liveness"):
            if name in self._running:
                self._running.pop(name).cancel()

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _repeat(self, name: str) -> None:
        probe: dict[str, Any] = self._container[f"{name}Probe"]
        period = float(probe.get("periodSeconds") or 10)
        successes, failures = 0, 0
        delay = max(float(probe.get("initialDelaySeconds") or 0), _LIVENESS_DELAY if name == "liveness" else 0.0)
        await self._clock.sleep(delay - (self._clock.monotonic() - self._born))
        while True:
            asked = self._clock.monotonic()
            early = name == "readiness" and not self.verdict.ready and asked - self._born < _EARLY
            try:
                answer = await check(probe, self._container, self._id, self._address, self._engine)
            except (EngineError, ProbeError) as error:  # prober/worker.go, doProbe: no result
                self._failed(name, f"errored and resulted in unknown state: {error}")
            else:
                successes, failures = (successes + 1, 0) if answer.healthy else (0, failures + 1)
                if not answer.healthy and not early:
                    self._failed(name, f"failed: {answer.output}")
                if self._judge(name, probe, answer, successes, failures):
                    return
            next_time = asked + (min(period, _SOON) if early else period)
            await self._clock.sleep(next_time - self._clock.monotonic())

    def _judge(self, name: str, probe: dict[str, Any], answer: Answer, successes: int, failures: int) -> bool:
        """Take the answer into the verdict; whether this probe is over."""
        passed = answer.healthy and successes >= int(probe.get("successThreshold") or 1)
        broken = not answer.healthy and failures >= int(probe.get("failureThreshold") or 3)
        old = self.verdict
        if name == "readiness" and (passed or broken):
            self.verdict = Verdict(old.started, passed, old.unhealthy)
        elif name == "startup" and passed:
            self.verdict = Verdict(True, old.ready, old.unhealthy)
            self._start("liveness", "readiness")
        elif name in ("liveness", "startup") and broken:
            self.verdict = Verdict(old.started, old.ready, name)
        if self.verdict != old:
            self._changed()
        return (name == "startup" and passed) or bool(self.verdict.unhealthy and name != "readiness")
