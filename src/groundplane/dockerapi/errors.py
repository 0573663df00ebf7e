"""Errors of the engine as Docker's answers: a status and `{"message": …}`."""

from __future__ import annotations

import errno
import os

from aiohttp import web
from aiohttp.typedefs import Handler

from groundplane.base.errors import ConflictError, GroundError, NotFoundError, UnavailableError, UsageError
from groundplane.base.jsonyaml import DecodeError, dumps
from groundplane.base.log import Log
from groundplane.engine.contract import BadParameter

_log = Log("dockerapi")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
API_VERSION = "1.47"
MIN_API_VERSION = "1.24"


class NotOffered(GroundError):
    """What Docker has and we do not (501). The sentence says what works instead."""


def status_of(error: GroundError) -> int:
    """The HTTP status that Docker gives for such an error (errdefs)."""
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, BadParameter | UsageError | DecodeError):
        return 400
    if isinstance(error, ConflictError):
        return 409
    if isinstance(error, NotOffered):
        return 501
    return 503 if isinstance(error, UnavailableError) else 500


def _check_version(version: str) -> None:
    """Docker's refusal of clients that are too new or too old for it (a negotiating client is never)."""
    if not version:
        return
    minor = int(version.partition(".")[2])
    if minor > int(API_VERSION.partition(".")[2]):
        raise BadParameter(f"client version {version} is too new. Maximum supported API version is {API_VERSION}")
    if minor < int(MIN_API_VERSION.partition(".")[2]):
        raise BadParameter(
            f"client version {version} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )


def answer(status: int, message: str) -> web.Response:
    return web.Response(status=status, body=dumps({"message": message}) + b"\n", content_type="application/json")


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around every handler. What nobody expected is logged with its traceback and answered without it."""
    try:
        _check_version(request.match_info.get("version", ""))
        return await handler(request)
    except GroundError as error:
        return answer(status_of(error), str(error))
    except web.HTTPNotFound:
        return answer(404, "page not found")
    except web.HTTPMethodNotAllowed:
        return answer(405, "method not allowed")
    except web.HTTPException as error:
        return answer(error.status, error.text or error.reason)
    except ConnectionError:
        raise  # the client has gone; aiohttp ends the connection quietly
    except OSError as error:
        return _host_error(request, error)
    except Exception as error:  # noqa: BLE001 because a defect in one request must not end the others
        return _unexpected(request, error)


def _host_error(request: web.Request, error: OSError) -> web.Response:
    """A host without room for more is no defect of ours, and who asked can mend it."""
    if error.errno not in _NO_ROOM:
        return _unexpected(request, error)
    where = f" ({error.filename})" if error.filename else ""
    _log.error("request failed", method=request.method, path=request.path, error=str(error))
    return answer(500, f"the engine cannot write its state{where}: {os.strerror(error.errno)}")


def _unexpected(request: web.Request, error: Exception) -> web.Response:
    _log.exception("request failed", method=request.method, path=request.path)
    return answer(500, f"internal error: {type(error).__name__}: {error}")
