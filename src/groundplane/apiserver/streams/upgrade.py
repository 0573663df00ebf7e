"""A client's connection becomes streams: websocket channels (v5, v4), or SPDY, pumped to and from a process.

Websockets are pumped by `serve.channels`, as the kubelet's are; SPDY here.
"""

from __future__ import annotations

from aiohttp import web

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Upgraded
from groundplane.apiserver.streams import spdy
from groundplane.apiserver.streams.contract import Streams
from groundplane.serve import channels


def wanted(request: web.BaseRequest) -> bool:
    """Whether the request asks for the connection."""
    return "upgrade" in request.headers.get("Connection", "").lower() and "Upgrade" in request.headers


class Upgrade:
    """One request's connection, taken over when called."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request

    def check(self) -> None:
        """The connection can be taken over; before anything is started. Raises StatusError."""
        word = self._request.headers["Upgrade"].lower()
        if word == "spdy/3.1":
            spdy.check(self._request)
        elif word != "websocket":
            raise statuses.bad_request(f"unable to upgrade: {word} is not spoken here, only websocket and SPDY/3.1")

    async def __call__(self, streams: Streams, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> Upgraded:
        """Pump until the process has ended or the client has gone."""
        try:
            if self._request.headers["Upgrade"].lower() == "spdy/3.1":
                flags = {"stdin": stdin, "stdout": stdout, "stderr": stderr, "resize": tty, "error": True}
                await spdy.serve(self._request, streams, {name for name, wanted_ in flags.items() if wanted_})
                return Upgraded(web.Response())
            return Upgraded(await channels.serve(self._request, streams))
        finally:
            await streams.close()
