"""The kubelet's API without the network: logs of and commands in the containers of this node's pods.

`server.py` puts it behind HTTPS on port 10250; the API server of the same process calls it directly. Errors are
ApiErrors with the Status that upstream's kubelet or API server gives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from groundplane.base.clock import parse_rfc3339, rfc3339_nano
from groundplane.client.contract import ApiError
from groundplane.engine.contract import EngineError, ExecSpec, NoSuchContainer, State, Streams
from groundplane.node.agent import Node
from groundplane.node.views import Pod, app_containers, init_containers
from groundplane.node.worker import Worker


def failure(code: int, reason: str, message: str) -> ApiError:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return ApiError({**status, "message": message, "reason": reason, "code": code})


class NodeApi:
    """What the API server asks of a node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def logs(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The log as the client wants it: follow, tailLines, sinceSeconds, sinceTime, timestamps, limitBytes, previous.

        The request is checked before the first byte is asked for. Raises ApiError.
        """
        worker = self._worker(namespace, pod)
        previous = _flag(query, "previous")
        container_id = self._container(worker, container, previous=previous)
        since = self._since(query)
        tail = _number(query, "tailLines")
        limit = _number(query, "limitBytes")
        return self._lines(
            container_id,
            follow=_flag(query, "follow") and not previous,
            tail=tail,
            since=since,
            stamps=_flag(query, "timestamps"),
            limit=limit,
        )

    async def _lines(
        self, container_id: str, *, follow: bool, tail: int | None, since: int, stamps: bool, limit: int | None
    ) -> AsyncIterator[bytes]:
        """Each line as bytes, cut at `limit` bytes altogether."""
        left = limit
        start_of_line = True
        async for line in self._node.context.engine.containers.logs(
            container_id, follow=follow, tail=tail, since=since
        ):
            data = line.data
            if stamps and start_of_line:
                data = rfc3339_nano(line.at).encode() + b" " + data
            start_of_line = data.endswith(b"\n")
            if left is not None:
                data, left = data[:left], left - len(data)
            yield data
            if left is not None and left <= 0:
                return

    def _since(self, query: Mapping[str, str]) -> int:
        seconds = _number(query, "sinceSeconds")
        if seconds is not None:
            return int((self._node.context.clock.time() - seconds) * 1e9)
        if query.get("sinceTime"):
            try:
                return int(parse_rfc3339(query["sinceTime"]) * 1e9)
            except ValueError as error:
                raise failure(400, "BadRequest", f"sinceTime {query['sinceTime']!r} is not an RFC 3339 time") from error
        return 0

    async def exec(
        self,
        namespace: str,
        pod: str,
        container: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> Streams:
        """Start a command beside the container's own process. Raises ApiError."""
        worker = self._worker(namespace, pod)
        container_id = self._container(worker, container, previous=False)
        engine = self._node.context.engine.containers
        if engine.get(container_id).state is not State.RUNNING:
            raise failure(500, "InternalError", f'container not found ("{container or self._first(worker.pod)}")')
        spec = ExecSpec(tuple(command), tty=tty, stdin=stdin, stdout=stdout, stderr=stderr)
        try:
            return await engine.exec(container_id, spec)
        except EngineError as error:
            raise failure(500, "InternalError", f"Internal error occurred: {error}") from error

    def _worker(self, namespace: str, pod: str) -> Worker:
        worker = self._node.worker(namespace, pod)
        if worker is None:
            raise failure(
                404, "NotFound", f'pod "{pod}" not found in namespace "{namespace}" on node "{self._node.place.name}"'
            )
        return worker

    @staticmethod
    def _first(pod: Pod) -> str:
        return str(app_containers(pod)[0]["name"])

    def _container(self, worker: Worker, name: str, *, previous: bool) -> str:
        pod = worker.pod
        name = name or self._first(pod)
        meta = pod["metadata"]
        known: list[dict[str, Any]] = [*app_containers(pod), *init_containers(pod)]
        if name not in {c["name"] for c in known}:
            raise failure(400, "BadRequest", f"container {name} is not valid for pod {meta['name']}")
        found = worker.container_id(name, previous=previous)
        try:
            if found:
                self._node.context.engine.containers.get(found)
                return found
        except NoSuchContainer:
            pass
        if previous:
            message = f'previous terminated container "{name}" in pod "{meta["name"]}" not found'
        else:
            message = f'container "{name}" in pod "{meta["name"]}" is waiting to start: {self._waiting(pod, name)}'
        raise failure(400, "BadRequest", message)

    @staticmethod
    def _waiting(pod: Pod, name: str) -> str:
        """kubelet_pods.go, validateContainerLogStatus: the waiting reason, or its image's trouble in words."""
        status = pod.get("status") or {}
        for entry in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
            waiting = (entry.get("state") or {}).get("waiting")
            if entry["name"] == name and waiting:
                reason = str(waiting.get("reason", ""))
                words = {
                    "ErrImagePull": "image can't be pulled",
                    "ImagePullBackOff": "trying and failing to pull image",
                }
                return words.get(reason, reason)
        return "ContainerCreating"


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1", "t")


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    if not text.isdigit():
        raise failure(400, "BadRequest", f"{name}: a whole number of at least 0 expected, {text!r} found")
    return int(text)
