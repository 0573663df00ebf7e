"""What every transport does around the handler: an answer for every error, a form for every answer, a count of both."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from groundplane.apiserver import negotiate, statuses
from groundplane.apiserver.call import Answer, Call, One, Text
from groundplane.apiserver.chain import Handler
from groundplane.apiserver.negotiate import Form
from groundplane.apiserver.nonresource import NoSuchPage
from groundplane.base.log import Log
from groundplane.client.contract import ApiError
from groundplane.store.contract import StoreError, TooLarge

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine

_log = Log("apiserver")
# Of what is not stored, only this can be shown as a table; a Status stays what it is. Reviews and tokens cannot.
_AS_TABLES = ("Scale", "Status")
NOT_FOUND = b"404 page not found\n"


class Desk:
    """Takes a call, gives an answer; never raises, except cancellation."""

    def __init__(self, machine: Machine, handler: Handler) -> None:
        self.machine = machine
        self._handler = handler

    async def answer(self, call: Call) -> Answer:
        """The verb's answer, or the refusal as a Status; counted for /metrics."""
        found = await self._answer(call)
        target = call.target
        # Only what we know, since a client may ask for any resource with any method.
        known = target.is_resource and self.machine.registry.find(target.group, target.version, target.resource)
        counted = (call.verb if known else "", target.resource if known else "", getattr(found, "code", 200))
        self.machine.counts[counted] = self.machine.counts.get(counted, 0) + 1
        return found

    async def _answer(self, call: Call) -> Answer:
        try:
            return await self._handler.serve(call)
        except statuses.StatusError as error:
            return refused(error)
        except ApiError as error:  # a node's refusal, passed on
            return One(error.status, code=error.code)
        except TooLarge:
            return refused(statuses.plain("etcdserver: request is too large"))
        except StoreError as error:
            return refused(statuses.unavailable(f"the store cannot be read: {error}"))
        except NoSuchPage:
            return Text(NOT_FOUND, code=404)
        except RecursionError:
            return refused(statuses.bad_request("the object provided is nested too deeply"))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 because a request must be answered; the traceback is in the log
            _log.exception("request failed", method=call.method, path=call.target.path)
            return refused(statuses.internal(str(error) or type(error).__name__))


def refused(error: statuses.StatusError) -> One:
    return One(error.to_object(), code=error.code)


def form_of(call: Call, *, tables: bool = True) -> Form:
    """The form of the call's answer. Raises NotAcceptable."""
    return negotiate.negotiate(call.accept, pretty=call.query.get("pretty", "") in ("1", "true"), tables=tables)


def form_of_one(call: Call, answer: One) -> Form:
    """The form of one object's answer. Raises NotAcceptable."""
    if answer.endpoint is not None:
        return form_of(call)
    kind = (answer.obj or {}).get("kind", "")
    if not kind:  # /version and the like are JSON whatever is asked for
        return Form(pretty="pretty" in call.query)
    return form_of(call, tables=kind in _AS_TABLES)


def warning_header(message: str) -> str:
    """RFC 7234, section 5.5: `299 - "text"`, quotes and backslashes escaped, one line."""
    clean = " ".join(message.split("\n")).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{clean}"'
