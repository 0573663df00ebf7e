"""Repeating one container's probes with their delays, periods and thresholds (pkg/kubelet/prober/worker.go).

A startup probe holds back the other two until it has succeeded. Liveness begins as healthy, readiness as not ready,
startup as not started. Each change is told once through `changed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from groundplane.base.clock import Clock
from groundplane.base.tasks import Tasks
from groundplane.engine.contract import Containers
from groundplane.node.probes.checks import Answer, check
from groundplane.node.views import ContainerSpec, Verdict

# A container just started is asked again soon whether it is ready, because a rollout waits for the answer.
_EARLY = 2.0
# kubelet learns of a started container up to a second later; a server that needs that second is not told off for it.
_LIVENESS_DELAY = 1.0
_SOON = 0.1

Tell = Callable[[str, str], None]
"""(probe's name, output): a failed probe, for the event Unhealthy."""


class Prober:
    """The probes of one attempt of one container. `verdict` is the newest answer; `stop` ends it.

    `before` is what an earlier life of this node had found, which holds until a probe says otherwise.
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
    ) -> None:
        self._container = container
        self._id = container_id
        self._address = address
        self._engine = engine
        self._clock = clock
        self._changed = changed
        self._failed = failed
        self._tasks = Tasks(f"probes/{container['name']}")
        has = {name for name in ("startup", "liveness", "readiness") if container.get(f"{name}Probe")}
        self.verdict = before or Verdict(started="startup" not in has, ready="readiness" not in has)
        self._born = clock.monotonic()
        if not self.verdict.started:
            self._tasks.start("startup", self._repeat("startup"))
        else:
            self._start_others()

    def _start_others(self) -> None:
        for name in ("liveness", "readiness"):
            if self._container.get(f"{name}Probe"):
                self._tasks.start(name, self._repeat(name))

    async def stop(self) -> None:
        await self._tasks.stop()

    async def _repeat(self, name: str) -> None:
        probe: dict[str, Any] = self._container[f"{name}Probe"]
        period = float(probe.get("periodSeconds") or 10)
        successes, failures = 0, 0
        delay = max(float(probe.get("initialDelaySeconds") or 0), _LIVENESS_DELAY if name == "liveness" else 0.0)
        await self._clock.sleep(delay - (self._clock.monotonic() - self._born))
        while True:
            answer = await check(probe, self._container, self._id, self._address, self._engine)
            successes, failures = (successes + 1, 0) if answer.healthy else (0, failures + 1)
            early = name == "readiness" and not self.verdict.ready and self._clock.monotonic() - self._born < _EARLY
            if not answer.healthy and not early:
                self._failed(name, answer.output)
            if self._judge(name, probe, answer, successes, failures):
                return
            await self._clock.sleep(min(period, _SOON) if early else period)

    def _judge(self, name: str, probe: dict[str, Any], answer: Answer, successes: int, failures: int) -> bool:
        """Take the answer into the verdict; whether this probe is over."""
        passed = answer.healthy and successes >= int(probe.get("successThreshold") or 1)
        broken = not answer.healthy and failures >= int(probe.get("failureThreshold") or 3)
        old = self.verdict
        if name == "readiness" and (passed or broken):
            self.verdict = Verdict(old.started, passed, old.unhealthy)
        elif name == "startup" and passed:
            self.verdict = Verdict(True, old.ready, old.unhealthy)
            self._start_others()
        elif name in ("liveness", "startup") and broken:
            self.verdict = Verdict(old.started, old.ready, name)
        if self.verdict != old:
            self._changed()
        return (name == "startup" and passed) or bool(self.verdict.unhealthy and name != "readiness")
