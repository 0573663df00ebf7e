"""Sending pod statuses to the API server: the newest of each pod, one call at a time per pod, retried until it is in.

kubelet's status manager (pkg/kubelet/status/status_manager.go): a strategic merge patch of the status subresource, so
that conditions written by others stay.
"""

from __future__ import annotations

from typing import Any

from groundplane.base.clock import Clock
from groundplane.base.log import Log
from groundplane.base.tasks import Tasks
from groundplane.client.client import Client
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, ConnectionLost
from groundplane.client.objects import version_of
from groundplane.node.status import Status
from groundplane.node.views import Pod

_log = Log("node.reports")
_RETRY = 1.0
_REPLACED = ("hostIPs", "podIPs")  # merged by address upstream: an address that is gone must not stay
_REPLACED_MAPS = ("resources", "allocatedResources")  # merged by key: an amount that is gone must not stay


class Reporter:
    """One pod's way to the cluster. `send` never waits; `flushed` waits until the newest status has arrived."""

    def __init__(self, client: Client, clock: Clock, tasks: Tasks) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._sent: Status = {}
        self._answer: Pod = {}  # the object as the API server had it after the last call
        self._next: tuple[Pod, Status] | None = None
        self._task: Any = None

    @property
    def last(self) -> Status:
        """The newest status that was asked to be sent."""
        return self._next[1] if self._next is not None else self._sent

    def send(self, pod: Pod, status: Status) -> None:
        if status == self.last:
            if self._next is not None or not self._is_overwritten(pod):
                return
            self._sent = pod.get("status") or {}
        self._next = (pod, status)
        if self._task is None or self._task.done():
            self._task = self._tasks.start(f"status {pod['metadata']['name']}", self._write())

    def _is_overwritten(self, pod: Pod) -> bool:
        """status_manager.go, needsReconcile: somebody has changed what is ours since it was written.

        A node that was away for a while finds its pods not ready, for example (MarkPodsNotReady).
        """
        if not self._answer or int(version_of(pod)) <= int(version_of(self._answer)):
            return False
        mine = self._sent.keys() - {"conditions"}
        types = {condition["type"] for condition in self._sent.get("conditions") or ()}

        def ours(status: Status) -> tuple[Any, ...]:
            found = {c["type"]: c for c in status.get("conditions") or () if c["type"] in types}
            return {key: status[key] for key in mine & status.keys()}, found

        return ours(pod.get("status") or {}) != ours(self._answer.get("status") or {})

    async def flushed(self) -> None:
        while self._task is not None and not self._task.done():
            await self._task

    async def _write(self) -> None:
        while self._next is not None:
            pod, status = self._next
            meta = pod["metadata"]
            body = {"metadata": {"uid": meta["uid"]}, "status": patch_of(self._sent or pod.get("status") or {}, status)}
            try:
                self._answer = await self._client.pods.patch(
                    meta["name"],
                    body,
                    meta["namespace"],
                    type=STRATEGIC_PATCH,
                    subresource="status",
                    field_manager="kubelet",
                )
            except ApiError as error:
                if error.is_not_found:
                    _log.debug("status not taken", pod=meta["name"], error=str(error))
                elif error.retry or error.code == 409:  # of another pod with this name, too: the informer will say so
                    await self._clock.sleep(error.retry_after or _RETRY)
                    continue
                else:
                    _log.warning("status refused", pod=f"{meta['namespace']}/{meta['name']}", error=str(error))
            except ConnectionLost:
                await self._clock.sleep(_RETRY)
                continue
            self._sent = status
            if self._next is not None and self._next[1] is status:
                self._next = None


def patch_of(old: Status, new: Status) -> Status:
    """The new status as a strategic merge patch: what is gone is null, lists of addresses and amounts are replaced."""
    patch: Status = {key: None for key in old if key not in new}
    patch.update(new)
    for key in _REPLACED:
        if new.get(key):
            patch[key] = [*new[key], {"$patch": "replace"}]
    for key in _REPLACED_MAPS:
        if key in new:
            patch[key] = {"$patch": "replace", **new[key]}
    if "conditions" in new:
        patch["conditions"] = _conditions(old.get("conditions") or [], new["conditions"])
    return patch


def _conditions(old: list[Status], new: list[Status]) -> list[Status]:
    """Conditions are merged by type, field by field: a reason or message that is gone must be told so."""
    before = {condition["type"]: condition for condition in old}
    return [{**dict.fromkeys(before.get(c["type"], {}).keys() - c.keys()), **c} for c in new]
