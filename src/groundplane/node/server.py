"""The kubelet's HTTPS API on port 10250: `api.NodeApi` for API servers of other processes and hosts.

    GET /healthz                                     ok
    GET /pods                                        the pods of this node
    GET /containerLogs/NAMESPACE/POD/CONTAINER       a log, chunk by chunk
    GET /exec/NAMESPACE/POD/CONTAINER?command=…      websocket channels v5, v4 (input, output, error, tty)

Anonymous requests are refused; who may do what, the API server says (`access`). Errors are a Status as JSON.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, cast
from urllib.parse import unquote

from aiohttp import web

from groundplane.base import jsonyaml
from groundplane.base.errors import GroundError
from groundplane.base.log import Log
from groundplane.client.contract import ApiError
from groundplane.node.access import Access, User
from groundplane.node.agent import Node
from groundplane.node.api import NodeApi, failure
from groundplane.serve import channels, listeners, peer
from groundplane.serve.server import Limits, Server

_log = Log("node.server")
_GRACE = 1.0  # logs that are followed would never end by themselves
_TRUE = ("1", "true", "True")


class KubeletServer:
    """`start` listens; `stop` ends every stream. Started after the node, stopped before it."""

    def __init__(self, node: Node, access: Access) -> None:
        self._node = node
        self._api = NodeApi(node)
        self._access = access
        self._http = Server(self._handle, Limits(body=64 * 1024))

    async def start(self, port: int, context: ssl.SSLContext, host: str = "0.0.0.0") -> None:
        """Raises ListenError, naming who has the port."""
        await self._http.listen(listeners.tcp(host, port), context)

    @property
    def port(self) -> int:
        return int(self._http.addresses[0][1])

    async def stop(self) -> None:
        await self._http.stop(_GRACE)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            await self._admit(request)
            return await self._route(request)
        except ApiError as error:
            return _status(error.status, error.code)
        except GroundError as error:
            _log.warning("request failed", path=request.path, error=str(error))
            return _status(failure(500, "InternalError", f"Internal error occurred: {error}").status, 500)

    async def _admit(self, request: web.BaseRequest) -> None:
        """Raises ApiError 401, 403."""
        user = await self._user(request)
        if user is None:
            raise failure(401, "Unauthorized", "Unauthorized")
        if not await self._access.may(user, request.method, request.path):
            raise failure(
                403, "Forbidden", f'User "{user.name}" may not use {request.path} of node {self._node.place.name}'
            )

    async def _user(self, request: web.BaseRequest) -> User | None:
        shown = peer.certificate(request)
        if shown is not None:
            return User(shown.common_name, groups=(*shown.organizations, "system:authenticated"))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return await self._access.user_of(token.strip()) if scheme.lower() == "bearer" and token.strip() else None

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        words = [unquote(word) for word in request.rel_url.raw_path.strip("/").split("/")]
        if request.method not in ("GET", "POST"):
            raise failure(405, "MethodNotAllowed", f"{request.method} is not offered for {request.path}")
        match words:
            case ["healthz"]:
                return web.Response(text="ok")
            case ["pods"]:
                pods = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._node.pods}
                return web.Response(body=jsonyaml.dumps(pods), content_type="application/json")
            case ["containerLogs", namespace, pod, container]:
                return await self._logs(request, namespace, pod, container)
            case ["exec", namespace, pod, container]:
                return await self._exec(request, namespace, pod, container)
        raise failure(404, "NotFound", f"the kubelet's API offers no {request.path} here")

    async def _logs(self, request: web.BaseRequest, namespace: str, pod: str, container: str) -> web.StreamResponse:
        lines = self._api.logs(namespace, pod, container, cast("Mapping[str, str]", request.query))
        answer = web.StreamResponse(headers={"Content-Type": "text/plain"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        async with aclosing(cast("Any", lines)) as pieces:
            async for piece in pieces:
                await answer.write(piece)
        await answer.write_eof()
        return answer

    async def _exec(self, request: web.BaseRequest, namespace: str, pod: str, container: str) -> web.StreamResponse:
        query = request.query
        command = query.getall("command", [])
        if not command:
            raise failure(400, "BadRequest", "you must specify at least one command for the container")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise failure(400, "BadRequest", "unable to upgrade: only websocket is spoken here")
        tty = query.get("tty") in _TRUE
        streams = await self._api.exec(
            namespace, pod, container, command,
            stdin=query.get("input") in _TRUE, stdout=query.get("output") in _TRUE,
            stderr=query.get("error") in _TRUE and not tty, tty=tty,
        )  # fmt: skip
        try:
            return await channels.serve(request, streams)
        finally:
            await streams.close()


def _status(status: dict[str, Any], code: int) -> web.Response:
    return web.Response(body=jsonyaml.dumps(status), status=code, content_type="application/json")
