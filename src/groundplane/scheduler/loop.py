"""The scheduler: informers keep cache and queue, one task decides, many tasks write what was decided.

    informers ──► cache, queue ──pop──► cycle.decide ──► assume ──► task: POST binding ──► (informer confirms)
                                             │                         └─ refused: forget, back off
                                             └─ misfit ──► queue waits; task: PodScheduled condition, event

Deciding never waits for writing: a decision counts at once through the assumption. At most 256 bindings are under way;
then the decider waits, so that a burst of pods neither fills memory nor starves the API server's own loop.
"""

from __future__ import annotations

import asyncio
import random

from groundplane.base.clock import Clock, rfc3339
from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, ConnectionLost, Object
from groundplane.client.events import NORMAL, WARNING, Recorder
from groundplane.client.informer import Handler, InformerFactory
from groundplane.client.objects import condition_of, is_deleting, object_reference, uid_of
from groundplane.client.resources import NODES, PODS
from groundplane.scheduler.cache import Cache
from groundplane.scheduler.contract import Change, Happening, Plugin
from groundplane.scheduler.cycle import Cycle, Misfit
from groundplane.scheduler.messages import misfit_message
from groundplane.scheduler.nodeinfo import NodeInfo, PodInfo
from groundplane.scheduler.plugins.registry import Profile, default_profile
from groundplane.scheduler.queue import SchedulingQueue, Waiting

_log = Log("scheduler")

NAME = "default-scheduler"
MAX_BINDINGS = 256
BREATH = 16  # decisions in a row before others may run


class Scheduler:
    """One scheduler, responsible for pods whose `spec.schedulerName` is its name."""

    def __init__(
        self, client: Client, informers: InformerFactory, clock: Clock, *, host: str = "", seed: int | None = None
    ) -> None:
        self._client = client
        self._clock = clock
        self._informers = informers
        self._recorder = Recorder(client, clock, NAME, host)
        self.cache = Cache()
        self.queue = SchedulingQueue(clock)
        profile = default_profile()
        self._cycle = Cycle(profile, self.cache, random.Random(seed))
        self._plugins = _by_name(profile)
        self._tasks = Tasks("scheduler")
        self._room = asyncio.Semaphore(MAX_BINDINGS)
        nodes, pods = informers.informer(NODES), informers.informer(PODS)
        self._needed = (nodes, pods)
        nodes.add_handler(Handler(add=self._node_came, update=self._node_changed, delete=self._node_gone))
        pods.add_handler(Handler(add=self._pod_came, update=self._pod_changed, delete=self._pod_gone))

    def start(self) -> None:
        """Start informers and, once nodes and pods are known, deciding."""
        self._informers.start()
        self._tasks.start("decide", self._run())

    async def stop(self) -> None:
        """Stop deciding; bindings under way are abandoned, the API server knows how they ended."""
        await self._tasks.stop()
        await self.queue.stop()
        await self._recorder.stop()

    # -- what changed -------------------------------------------------------------------------------------------------

    def _node_came(self, node: Object) -> None:
        info = self.cache.put_node(node)
        self._happened(Change.NODE_ADDED, info)

    def _node_changed(self, old: Object, new: Object) -> None:
        changes = _node_changes(old, new)
        if not changes:  # a heartbeat
            return
        info = self.cache.put_node(new)
        self._happened(changes, info)

    def _node_gone(self, node: Object) -> None:
        self.cache.remove_node(node["metadata"]["name"])

    def _pod_came(self, pod: Object) -> None:
        node = _node_of(pod)
        if _is_finished(pod):
            return
        if node:
            self.cache.put_pod(PodInfo(pod), node)
        elif self._is_mine(pod):
            self.queue.add(PodInfo(pod))

    def _pod_changed(self, _: Object, new: Object) -> None:
        uid = uid_of(new)
        if _is_finished(new):
            self._pod_gone(new)
        elif node := _node_of(new):
            self.queue.remove(uid)
            known = self.cache.known(uid)
            self.cache.put_pod(known.follow(new) if known is not None else PodInfo(new), node)
        elif self._is_mine(new):
            if not self.cache.holds(uid):  # assumed: the answer to our binding is on its way
                self.queue.update(PodInfo(new))
        else:
            self.queue.remove(uid)

    def _pod_gone(self, pod: Object) -> None:
        uid = uid_of(pod)
        self.queue.remove(uid)
        node = self.cache.remove_pod(uid)
        if node is not None:
            self._happened(Change.POD_ENDED, node)

    def _is_mine(self, pod: Object) -> bool:
        name = (pod.get("spec") or {}).get("schedulerName") or NAME
        return name == NAME and not is_deleting(pod)

    def _happened(self, change: Change, node: NodeInfo) -> None:
        happening = Happening(change, node)

        def helps(waiting: Waiting) -> bool:
            plugins = [self._plugins[name] for name in waiting.plugins]
            asked = [plugin for plugin in plugins if plugin.wakes & change]
            return not plugins or any(plugin.helps(waiting.info, happening) for plugin in asked)

        self.queue.happened(helps)

    # -- deciding -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        for informer in self._needed:
            await informer.synced()
        while True:
            for _ in range(BREATH):
                waiting = await self.queue.pop()
                await self._room.acquire()
                self._schedule(waiting)
            await asyncio.sleep(0)

    def _schedule(self, waiting: Waiting) -> None:
        pod = waiting.info
        try:
            found = self._cycle.decide(pod)
        except Exception as error:  # noqa: BLE001 because one pod that trips a plugin must not stop all scheduling
            _log.exception("decision failed", pod=pod.key, error=repr(error))
            self.queue.failed(waiting)
            self._room.release()
            return
        if isinstance(found, Misfit):
            self.queue.unschedulable(waiting, found.plugins)
            self._tasks.start("unschedulable", self._say_unschedulable(pod, misfit_message(found)))
        else:
            self.cache.assume(pod, found.name)
            self._tasks.start("bind", self._bind(waiting, found.name))

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _bind(self, waiting: Waiting, node: str) -> None:
        pod = waiting.info
        namespace, name = pod.key
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        try:
            await self._client.pods.create(body, namespace, name=name, subresource="binding")
        except (ApiError, ConnectionLost) as error:
            self._binding_failed(waiting, error)
            if not isinstance(error, ApiError) or not error.is_not_found:
                await self._tell_failure(pod, "SchedulerError", f"binding rejected: {error}")
            return
        finally:
            self._room.release()
        self.queue.remove(pod.uid)
        message = f"Successfully assigned {namespace}/{name} to {node}"
        self._recorder.event(object_reference(pod.pod, PODS), NORMAL, "Scheduled", message, action="Binding")

    def _binding_failed(self, waiting: Waiting, error: GroundError) -> None:
        pod = waiting.info
        _log.warning("binding failed", pod=pod.key, error=error)
        self.cache.forget(pod.uid)
        if isinstance(error, ApiError) and error.is_not_found:
            self.queue.remove(pod.uid)
        elif not self.cache.holds(pod.uid):  # it may have been bound after all
            self.queue.failed(waiting)

    async def _say_unschedulable(self, pod: PodInfo, message: str) -> None:
        try:
            await self._tell_failure(pod, "Unschedulable", message)
        finally:
            self._room.release()

    async def _tell_failure(self, pod: PodInfo, reason: str, message: str) -> None:
        """The event, and the PodScheduled condition where it is not there already."""
        reference = object_reference(pod.pod, PODS)
        self._recorder.event(reference, WARNING, "FailedScheduling", message, action="Scheduling")
        old = condition_of(pod.pod, "PodScheduled") or {}
        if (old.get("status"), old.get("reason"), old.get("message")) == ("False", reason, message):
            return
        now = rfc3339(self._clock.time())
        condition: Object = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": old.get("lastTransitionTime") if old.get("status") == "False" else now,
            "reason": reason,
            "message": message,
        }
        if generation := pod.pod["metadata"].get("generation"):
            condition["observedGeneration"] = generation
        namespace, name = pod.key
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.pods.patch(name, body, namespace, type=STRATEGIC_PATCH, subresource="status")
        except (ApiError, ConnectionLost) as error:
            if not isinstance(error, ApiError) or error.code not in (404, 409):
                _log.warning("condition not written", pod=pod.key, error=error)


def _by_name(profile: Profile) -> dict[str, Plugin]:
    return {plugin.name: plugin for plugin in profile.filters}


def _node_of(pod: Object) -> str:
    return (pod.get("spec") or {}).get("nodeName") or ""


def _is_finished(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _node_changes(old: Object, new: Object) -> Change:
    """What of a node changed that a plugin could look at (eventhandlers.go nodeSchedulingPropertiesChange)."""
    changes = Change(0)
    was, now = old.get("spec") or {}, new.get("spec") or {}
    if old["metadata"].get("labels") != new["metadata"].get("labels"):
        changes |= Change.NODE_LABELS
    if was.get("taints") != now.get("taints") or bool(was.get("unschedulable")) != bool(now.get("unschedulable")):
        changes |= Change.NODE_TAINTS
    before, after = old.get("status") or {}, new.get("status") or {}
    if before.get("allocatable") != after.get("allocatable") or before.get("images") != after.get("images"):
        changes |= Change.NODE_CAPACITY
    return changes
