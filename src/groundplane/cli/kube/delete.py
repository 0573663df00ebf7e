"""`ground kube delete`: by files, names or labels; waits until the objects are gone."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

from groundplane.base.errors import UsageError
from groundplane.cli.kube.manifests import read
from groundplane.cli.kube.session import (
    FILES,
    NAMESPACE,
    SELECTOR,
    KubeError,
    Session,
    of_object,
    run_session,
    seconds_of,
    shown_name,
    targets,
)
from groundplane.cli.kube.watching import states
from groundplane.cli.options import Command, flag, number, text
from groundplane.cli.place import Place
from groundplane.client.contract import ApiError
from groundplane.client.resources import Resource

COMMAND = Command(
    "kube delete",
    "(-f FILE | TYPE NAME… | TYPE -l LABELS) [OPTIONS]",
    "Delete objects.",
    (
        *NAMESPACE,
        FILES,
        SELECTOR,
        number("grace-period", "", "Seconds given to pods to end"),
        flag("ignore-not-found", "", "What is not there is no error"),
        flag("no-wait", "", "Do not wait until the objects are gone"),
        text("timeout", "", "duration", "How long to wait", "60s"),
    ),
)

_Targets = list[tuple[Resource, str, str]]


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    selector = parsed.text("selector")
    grace = parsed.number("grace-period")

    async def wanted(session: Session) -> _Targets:
        if parsed.many("filename"):
            pairs = [(of_object(d), d.get("metadata") or {}) for d in read(parsed.many("filename"))]
            return [(r, str(m["name"]), str(m.get("namespace") or session.scope(r))) for r, m in reversed(pairs)]
        found: _Targets = []
        for resource, name in targets(parsed.words):
            if name:
                found.append((resource, name, session.scope(resource)))
            elif selector:
                items, _ = await session.of(resource).list_all(session.scope(resource), label_selector=selector)
                found += [(resource, i["metadata"]["name"], session.scope(resource)) for i in items]
            else:
                raise UsageError("error: resource(s) were provided, but no name was specified")
        return found

    async def work(session: Session) -> int:
        failed = 0
        deleted: _Targets = []
        for resource, name, namespace in await wanted(session):
            try:
                await session.of(resource).delete(name, namespace, grace_period=grace, propagation="Background")
            except ApiError as error:
                if not (error.is_not_found and parsed.on("ignore-not-found")):
                    sys.stderr.write(f"Error from server ({error.reason}): {error}\n")
                    failed = 1
                continue
            sys.stdout.write(f'{shown_name(resource, name).partition("/")[0]} "{name}" deleted\n')
            sys.stdout.flush()
            deleted.append((resource, name, namespace))
        if not parsed.on("no-wait"):
            deadline = asyncio.get_running_loop().time() + seconds_of(parsed.text("timeout"))
            for resource, name, namespace in deleted:
                await _gone(session, resource, name, namespace, deadline)
        return failed

    return run_session(place, parsed, work)


async def _gone(session: Session, resource: Resource, name: str, namespace: str, deadline: float) -> None:
    """Return once it is not there. Raises KubeError at the deadline."""
    changes = states(session, resource, name, namespace)
    try:
        async with asyncio.timeout_at(deadline), aclosing(changes):
            async for found in changes:
                if found is None:
                    return
    except TimeoutError:
        raise KubeError(f"error: timed out waiting for the condition on {resource.plural}/{name}") from None
