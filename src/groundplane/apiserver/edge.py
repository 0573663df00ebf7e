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
NOT_FOUND = b"404 page not found\n"


class Desk:
    """Takes a call, gives an answer; never raises, except cancellation."""

    def __init__(self, machine: Machine, handler: Handler) -> None:
        self.machine = machine
        self._handler = handler

    async def answer(self, call: Call) -> Answer:
        """The verb's answer, or the refusal as a Status; counted for /metrics."""
        found = await self._answer(call)
        counted = (call.verb, call.target.resource, getattr(found, "code", 200))
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
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 because a request must be answered; the traceback is in the log
            _log.exception("request failed", method=call.method, path=call.target.path)
            return refused(statuses.internal(str(error) or type(error).__name__))


def refused(error: statuses.StatusError) -> One:
    return One(error.to_object(), code=error.code)


def form_of(call: Call) -> Form:
    """The form of the call's answer. Raises NotAcceptable."""
    return negotiate.negotiate(call.accept, pretty=call.query.get("pretty", "") in ("1", "true"))


def warning_header(message: str) -> str:
    """RFC 7234, section 5.5: `299 - "text"`, quotes and backslashes escaped, one line."""
    clean = " ".join(message.split("\n")).replace("\\", "\\\\").replace('"', '\\"')
    return f'299 - "{clean}"'
