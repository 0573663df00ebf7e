"""One pod's worker: observe, plan, perform, report, wait; from the pod's first sight to its last trace.

    informer: pod changed ──┐                       ┌── perform: sandbox, start, kill, remove
    engine: container died ─┼─► wake ─► observe ─► plan ─► status ─► Reporter ─► API server
    probe: verdict changed ─┘        └── wait (back-off, deadline) ──┘

Everything the worker knows it can read again from the engine's labels, so a killed daemon's successor goes on where it
was. Containers are ended in tasks of their own: a long grace period holds nothing up.
"""

from __future__ import annotations

import asyncio
import os
import shutil

from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks, in_thread, set_within
from groundplane.client.contract import ApiError, ConnectionLost
from groundplane.engine.contract import EngineError, NoSuchContainer, State
from groundplane.node import hosts
from groundplane.node.context import Context
from groundplane.node.messages import termination_message
from groundplane.node.plan import Kill, Plan, Start, backoff_left, deadline_hit, plan
from groundplane.node.probes.prober import PROBES, Prober
from groundplane.node.reports import Reporter
from groundplane.node.spec import hostname, sandbox_spec
from groundplane.node.starting import StartFailure, crash_sentence, log_directory, start_container
from groundplane.node.status import ENDED, pod_status
from groundplane.node.views import (
    POD_UID,
    ContainerView,
    Failure,
    Observed,
    Pod,
    app_containers,
    init_containers,
    is_sidecar,
    known_verdict,
    view_of,
)
from groundplane.node.volumes.payload import VolumeError

_log = Log("node.worker")
_RETRY = 1.0
_RETRY_FAULT = 10.0
_DRAIN_SECONDS = 2.0


class Worker:
    """`finished` once the pod has nothing left on this node, though its object may stay for its finalizers."""

    def __init__(self, context: Context, pod: Pod) -> None:
        self.pod = pod
        self.uid: str = pod["metadata"]["uid"]
        self.finished = False
        self._context = context
        self._wake = asyncio.Event()
        self._tasks = Tasks(f"pod {pod['metadata']['name']}")
        self._reporter = Reporter(context.client, context.clock, self._tasks)
        self._sandbox = self._address = ""
        self._attempts: dict[str, list[str]] = {}  # container name → ids, newest first
        self._messages: dict[str, str] = {}  # container id → termination message
        self._probers: dict[str, Prober] = {}
        self._failures: dict[str, Failure] = {}
        self._blocked = ""
        self._volumes_ready = False
        self._replaced: set[str] = set()  # ids of containers that were ended for another image
        self._kills: dict[str, tuple[float, asyncio.Task[None]]] = {}
        self._told_backoff: set[str] = set()
        self._told_deadline = False
        self._released = False  # an ended pod's sandbox and volumes
        self._refreshing: asyncio.Task[None] | None = None
        self._wait: float | None = None  # seconds until the next round, None: until woken
        self._again = False  # the round did something, so the next one follows at once

    def start(self) -> None:
        self._tasks.start("worker", self._run())

    async def stop(self) -> None:
        """Let go of the pod without touching it: the daemon ends, its containers stay."""
        await self._tasks.stop()
        for prober in self._probers.values():
            await prober.stop()

    def update(self, pod: Pod) -> None:
        old, self.pod = self.pod["metadata"], pod
        if any(old.get(name) != pod["metadata"].get(name) for name in ("labels", "annotations")):
            self.refresh_volumes()  # the downward API shows them
        self._wake.set()

    def poke(self) -> None:
        """Something of this pod changed on the host."""
        self._wake.set()

    @property
    def _ip(self) -> str:
        """status.podIP: a pod in the host's network has the host's address."""
        return self._address or self._context.place.address

    def container_id(self, name: str, *, previous: bool = False) -> str:
        """The id of a container's newest attempt, or of its last state (validateContainerLogStatus); or empty.

        While it waits for its next attempt the two are the same.
        """
        if not previous:
            return next(iter(self._attempts.get(name, ())), "")
        known = self._reporter.last
        both = (*known.get("containerStatuses", ()), *known.get("initContainerStatuses", ()))
        ended = (one["lastState"].get("terminated", {}) for one in both if one["name"] == name)
        return next((str(one.get("containerID", "")) for one in ended), "").rpartition("/")[2]

    def refresh_volumes(self) -> None:
        """Bring ConfigMaps, Secrets and tokens up to date, beside all else; failures wait for the next time."""
        ending = self.pod["metadata"].get("deletionTimestamp")
        if self._volumes_ready and not ending and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = self._tasks.start("volumes", self._refresh())

    async def _refresh(self) -> None:
        try:
            await self._context.volumes.refresh(self.pod, self._address)
        except (GroundError, OSError) as error:
            _log.debug("volumes not refreshed", pod=self.pod["metadata"]["name"], error=str(error))

    async def _leave_volumes(self) -> None:
        """What refreshes them must not make anew what is to be taken away."""
        self._volumes_ready = False
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.wait((self._refreshing,))

    async def _run(self) -> None:
        recovered = False
        while True:
            self._wake.clear()
            self._again = False
            try:
                if not recovered:
                    await self._recover()
                    recovered = True
                if await self._step():
                    return
            except (GroundError, OSError) as error:
                _log.warning("pod step failed", pod=self.pod["metadata"]["name"], error=str(error))
                self._wait = _RETRY
            except Exception as error:  # noqa: BLE001 because a fault of ours must not leave the pod to itself for ever
                _log.exception("pod step failed", pod=self.pod["metadata"]["name"], error=repr(error))
                self._wait = _RETRY_FAULT
            if not self._again:
                await set_within(self._wake, self._wait, self._context.clock)

    async def _recover(self) -> None:
        """Find what a predecessor left: the sandbox, the attempts, containers created but never started."""
        engine = self._context.engine
        self._sandbox = self._address = ""
        self._attempts.clear()
        for sandbox in engine.sandboxes.list():
            if sandbox.spec.labels.get(POD_UID) != self.uid:
                continue
            if self._sandbox or (sandbox.spec.network == "pod" and not sandbox.address):
                await engine.sandboxes.remove(sandbox.id)  # it could not be made again after a restart of the host
            else:
                self._sandbox, self._address = sandbox.id, sandbox.address
        views = []
        for info in engine.containers.list(hidden=True):
            if info.spec.labels.get(POD_UID) == self.uid:
                if info.state is State.CREATED:
                    await engine.containers.remove(info.id, force=True)
                else:
                    views.append(view_of(info))
        for view in sorted(views, key=lambda v: v.attempt):
            self._attempts.setdefault(view.name, []).insert(0, view.id)

    async def _step(self) -> bool:
        """One round. True once the pod is gone."""
        observed = self._observe()
        now, monotonic = self._context.clock.time(), self._context.clock.monotonic()
        todo = plan(self.pod, observed, now, monotonic)
        self._wait = todo.wait
        if await self._keep_probes(observed, todo):
            observed = self._observe()  # a container that has just got a prober is not ready before its first answer
        self._report(observed, now)
        self._tell_backoff(observed, todo, now)
        self._tell_deadline(observed, now)
        for view in todo.remove:
            await self._remove(view)
        for kill in todo.kill:
            self._kill(kill)
        if todo.terminate:
            if todo.finished and self.pod["metadata"].get("deletionTimestamp"):
                await self._finish()
                return True
            if todo.finished and not self._released:
                await self._release()
            return False
        if todo.create_sandbox:
            await self._create_sandbox()
            self._again = True
        elif todo.start and await self._ready_for_containers():
            for start in todo.start:
                await self._start(start)
            self._again = True
        return False

    # observing

    def _observe(self) -> Observed:
        views = {name: tuple(self._views(ids)) for name, ids in self._attempts.items()}
        verdicts = {id: prober.verdict for id, prober in self._probers.items()}
        return Observed(self._sandbox, self._address, views, verdicts, self._failures)

    def _views(self, ids: list[str]) -> list[ContainerView]:
        views = []
        for id in list(ids):
            try:
                info = self._context.engine.containers.get(id)
            except NoSuchContainer:
                ids.remove(id)
                continue
            if info.state is State.EXITED and id not in self._messages:
                self._messages[id] = termination_message(self._context, self.pod, info)
            views.append(view_of(info, self._messages.get(id, ""), replaced=id in self._replaced))
        return views

    def _report(self, observed: Observed, now: float) -> None:
        """Ours over the API's: a status that was just sent may not have come back through the informer yet."""
        api, ours = self.pod.get("status") or {}, self._reporter.last
        conditions = {c["type"]: c for c in (*(api.get("conditions") or ()), *(ours.get("conditions") or ()))}
        known = {**api, **ours, "conditions": list(conditions.values())}
        if api.get("phase") in ENDED:  # whoever said so: an end is final
            known |= {key: api[key] for key in ("phase", "reason", "message") if key in api}
        status = pod_status({**self.pod, "status": known}, observed, self._context.place.address, now)
        self._reporter.send(self.pod, status)

    async def _keep_probes(self, observed: Observed, todo: Plan) -> bool:
        """A prober for each running container with probes, none for any other; whether there are new ones.

        A pod that ends is asked for its readiness only (prober_manager.go, StopLivenessAndStartup): clients may still
        be sent to it.
        """
        wanted: dict[str, dict[str, object]] = {}
        for container in (*app_containers(self.pod), *filter(is_sidecar, init_containers(self.pod))):
            view = observed.latest(container["name"])
            if view is not None and view.running and any(f"{p}Probe" in container for p in PROBES):
                wanted[view.id] = container
        for id in [id for id in self._probers if id not in wanted]:
            await self._probers.pop(id).stop()
        new = [id for id in wanted if id not in self._probers]
        for id in new:
            self._add_prober(id, wanted[id])
        if todo.terminate:
            for prober in self._probers.values():
                prober.only_readiness()
        return bool(new)

    def _add_prober(self, id: str, container: dict[str, object]) -> None:
        name = str(container["name"])

        def failed(probe: str, words: str) -> None:
            self._context.tell(self.pod, "Warning", "Unhealthy", f"{probe.capitalize()} probe {words}", name)

        engine, clock = self._context.engine.containers, self._context.clock
        age = max(clock.time() - engine.get(id).started_at / 1e9, 0.0)
        before = known_verdict(self.pod, id)
        self._probers[id] = Prober(container, id, self._ip, engine, clock, self.poke, failed, before, age)

    def _tell_backoff(self, observed: Observed, todo: Plan, now: float) -> None:
        if todo.terminate:
            return
        for container in (*init_containers(self.pod), *app_containers(self.pod)):
            view = observed.latest(container["name"])
            if view is None or view.id in self._told_backoff:
                continue
            if backoff_left(container, view, observed, now) > 1:
                self._told_backoff.add(view.id)
                self._context.tell(self.pod, "Warning", "BackOff", crash_sentence(self.pod, view.name), view.name)

    def _tell_deadline(self, observed: Observed, now: float) -> None:
        """active_deadline.go, ShouldEvict: a pod that was stopped by its deadline is told so."""
        over = (self.pod.get("status") or {}).get("phase") in ENDED
        if not self._told_deadline and not over and deadline_hit(self.pod, observed, now):
            self._told_deadline = True
            message = "Pod was active on the node longer than the specified deadline"
            self._context.tell(self.pod, "Normal", "DeadlineExceeded", message)

    # acting

    async def _create_sandbox(self) -> None:
        try:
            info = await self._context.engine.sandboxes.create(sandbox_spec(self.pod, self._context.place.name))
        except EngineError as error:
            message = f"Failed to create pod sandbox: {error}"
            self._context.tell(self.pod, "Warning", "FailedCreatePodSandBox", message)
            raise
        self._sandbox, self._address = info.id, info.address
        self._volumes_ready = False

    async def _ready_for_containers(self) -> bool:
        """Volumes and host files are there; what is missing is told, and tried again."""
        if self._volumes_ready:
            return True
        context = self._context
        try:
            await context.volumes.prepare(self.pod, self._address)
        except VolumeError as error:
            if str(error) != self._blocked:
                self._blocked = str(error)
                context.tell(self.pod, "Warning", "FailedMount", str(error))
            self._wait = _RETRY
            return False
        name = hostname(self.pod, context.place.name)
        directory = context.volumes.directory(self.uid)
        place = context.place
        hosts.write(directory, self.pod, name, self._address, dns_address=place.dns_address, domain=place.domain)
        self._blocked, self._volumes_ready = "", True
        return True

    async def _start(self, start: Start) -> None:
        name = start.container["name"]
        before = self._failures.pop(name, None)
        try:
            id = await start_container(self._context, self.pod, start, self._sandbox, self._ip, before)
        except StartFailure as error:
            self._failures[name] = error.failure
            return
        self._attempts.setdefault(name, []).insert(0, id)

    async def _remove(self, view: ContainerView) -> None:
        await self._context.engine.containers.remove(view.id, force=True)
        self._attempts[view.name].remove(view.id)
        self._messages.pop(view.id, None)
        self._kills.pop(view.id, None)
        self._replaced.discard(view.id)
        self._told_backoff.discard(view.id)

    def _kill(self, kill: Kill) -> None:
        """End a container in a task of its own; an earlier end replaces a later one that is under way."""
        if kill.replace:
            self._replaced.add(kill.view.id)
        due = self._context.clock.monotonic() + kill.grace
        known = self._kills.get(kill.view.id)
        if known is not None and not known[1].done():
            if due > known[0] - 1.0:  # what is left of a grace period is known to the second
                return
            known[1].cancel()
        else:
            self._context.tell(self.pod, "Normal", "Killing", kill.reason, kill.view.name)
        task = self._tasks.start(f"kill {kill.view.name}", self._end(kill))
        self._kills[kill.view.id] = (due, task)

    async def _end(self, kill: Kill) -> None:
        # Only a pod that is to go leaves its Services; one that restarts a container stays in them.
        if self._address and kill.grace > 0 and self.pod["metadata"].get("deletionTimestamp"):
            await self._context.drain.endpoint_gone(self._address, min(_DRAIN_SECONDS, kill.grace))
        try:
            await self._context.engine.containers.stop(kill.view.id, kill.grace)
        except EngineError as error:
            _log.warning("container not stopped", container=kill.view.name, error=str(error))
            await self._context.clock.sleep(_RETRY)
        self.poke()

    async def _release(self) -> None:
        """kubelet's SyncTerminatedPod: of an ended pod containers and logs stay; address, cgroup and volumes go."""
        if self._sandbox:
            await self._context.engine.sandboxes.remove(self._sandbox)
            self._sandbox = self._address = ""
            self._again = True  # to say so
        await self._leave_volumes()
        await in_thread(lambda: self._context.volumes.release(self.uid))
        self._released = True

    async def _finish(self) -> None:
        """The pod has ended and is to be deleted: its last status, then all it had here, then its object."""
        await self._reporter.flushed()
        await self.clean()
        self.finished = True
        meta = self.pod["metadata"]
        while True:
            try:
                await self._context.client.pods.delete(meta["name"], meta["namespace"], uid=self.uid, grace_period=0)
                return
            except ApiError as error:
                if not error.retry:
                    return  # gone already, or another pod of that name
            except ConnectionLost:
                pass
            await self._context.clock.sleep(_RETRY)

    async def clean(self) -> None:
        """Remove containers, sandbox, volumes and logs of the pod from this host; idempotent."""
        engine = self._context.engine
        await self._leave_volumes()
        for prober in self._probers.values():
            await prober.stop()
        self._probers.clear()
        for info in engine.containers.list(hidden=True):
            if info.spec.labels.get(POD_UID) == self.uid:
                await engine.containers.remove(info.id, force=True)
        self._attempts.clear()
        for sandbox in engine.sandboxes.list():
            if sandbox.spec.labels.get(POD_UID) == self.uid:
                await engine.sandboxes.remove(sandbox.id)
        self._sandbox = self._address = ""
        await in_thread(self._remove_files)
        self._context.sources.forget(self.uid)

    def _remove_files(self) -> None:
        """In a thread: what a pod leaves may be large."""
        self._context.volumes.teardown(self.uid)
        logs = log_directory(self._context, self.pod)
        if os.path.isdir(logs):
            shutil.rmtree(logs)
