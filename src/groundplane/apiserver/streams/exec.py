"""`pods/exec`, `pods/attach`, `pods/portforward`: streams both ways between a client and a container.

What is asked is checked here; the edge (`http.py`) owns the connection and pumps it once `call.upgrade` is given the
streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.apiserver import statuses
from groundplane.apiserver.call import Answer, Call
from groundplane.apiserver.request import truth
from groundplane.apiserver.streams.target import locate

if TYPE_CHECKING:
    from groundplane.apiserver.machine import Machine
    from groundplane.apiserver.registry import Endpoint


async def exec_(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    pod, container, node = locate(machine, endpoint, call)
    command = call.query.all("command")
    stdin, tty = truth(call.query.get("stdin")), truth(call.query.get("tty"))
    stdout, stderr = truth(call.query.get("stdout")), truth(call.query.get("stderr")) and not tty
    if not (stdin or stdout or stderr):
        raise statuses.bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if not command:
        raise statuses.bad_request("you must specify at least one command for the container")
    if node is None:
        raise statuses.bad_request(f"pod {call.name} does not have a host assigned")
    if call.upgrade is None:
        raise statuses.bad_request("Upgrade request required")
    call.upgrade.check()
    streams = await node.exec(
        pod["metadata"]["namespace"], call.name, container, command,
        stdin=stdin, stdout=stdout, stderr=stderr, tty=tty,
    )  # fmt: skip
    answer: Answer = await call.upgrade(streams, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)
    return answer


async def attach(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    locate(machine, endpoint, call)
    raise statuses.plain("pods/attach is not offered by this server yet")


async def portforward(machine: Machine, endpoint: Endpoint, call: Call) -> Answer:
    endpoint.objects.get(call.namespace, call.name)
    raise statuses.plain("pods/portforward is not offered by this server yet")
