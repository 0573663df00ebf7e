"""The engine's API as verbs use it: requests, Docker's error sentences, and the engine's start on demand."""

from __future__ import annotations

import errno

from groundplane.base.errors import GroundError
from groundplane.base.quickjson import decode, encode
from groundplane.cli.http import ProtocolError, Response, send, target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from groundplane.cli.place import Place

_NOT_THERE = (errno.ENOENT, errno.ECONNREFUSED)


class ApiError(GroundError):
    """The engine answered with an error; `message` is its own sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.message = message


class NoAnswer(GroundError):
    """The engine took a request and ended, or broke the connection, before it answered."""


class EngineDown(GroundError):
    """There is no engine behind the socket."""


class Api:
    """One instance's engine. Starts it when the first request finds nobody, unless `start` is False."""

    def __init__(self, place: Place, *, start: bool = True) -> None:
        self._place = place
        self._start = start
        self._path = place.socket

    def open(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: object = None,
        *,
        upgrade: bool = False,
    ) -> Response:
        """Send a request and read the answer's head. Raises ApiError for a status of 400 and above."""
        try:
            response = self.send(method, path, query, body, upgrade=upgrade).response()
        except NoAnswer:
            if method != "GET":
                raise
            # An engine that ended is started again at once, and asking twice changes nothing.
            response = self.send(method, path, query, body).response()
        if response.status >= 400:
            raise _error(response)
        return response

    def send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: object = None, *, upgrade: bool = False
    ) -> Pending:
        """Send a request without waiting for its answer; `Pending.response()` waits."""
        data = None if body is None else encode(body)
        try:
            sock = send(self._path, method, target(path, query), data, upgrade=upgrade)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise self._unreachable(error) from error
            self._start_engine()
            try:
                sock = send(self._path, method, target(path, query), data, upgrade=upgrade)
            except OSError as again:
                raise self._unreachable(again) from again
        return Pending(sock)

    def _start_engine(self) -> None:
        if not self._start:
            raise EngineDown(f"no engine is running here ({self._path})")
        from groundplane.cli.ensure import ensure_engine

        ensure_engine(self._place)

    def _unreachable(self, error: OSError) -> GroundError:
        if error.errno == errno.EACCES:
            return GroundError(
                f"permission denied while trying to connect to the engine at {self._path}: only root may; try with sudo"
            )
        return GroundError(f"cannot connect to the engine at {self._path}: {error.strerror or error}")

    def json(self, method: str, path: str, query: dict[str, str] | None = None, body: object = None) -> Any:
        """The answer's document; None where it has no body."""
        return _document(self.open(method, path, query, body))


class Pending:
    """A request that was sent."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def fileno(self) -> int:
        number: int = self._socket.fileno()
        return number

    def response(self) -> Response:
        try:
            return Response(self._socket)
        except (ProtocolError, OSError) as error:
            raise NoAnswer(f"the engine did not answer: {error}") from error

    def json(self) -> Any:
        response = self.response()
        if response.status >= 400:
            raise _error(response)
        return _document(response)

    def done(self) -> None:
        """Wait for an answer that has nothing to say. Raises ApiError."""
        response = self.response()
        if response.status >= 400:
            raise _error(response)
        response.close()

    def close(self) -> None:
        self._socket.close()


def _document(response: Response) -> Any:
    body = response.read()
    return decode(body) if body else None


def _error(response: Response) -> ApiError:
    body = response.read()
    try:
        message = decode(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode("utf-8", "replace").strip() or f"status {response.status}"
    return ApiError(response.status, str(message))
