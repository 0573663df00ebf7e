"""`ground kube rollout status|history|undo|restart|pause|resume deployment/NAME`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from groundplane.base.clock import rfc3339
from groundplane.base.errors import UsageError
from groundplane.cli.kube import rollout_words as words
from groundplane.cli.kube.session import (
    MANAGER,
    NAMESPACE,
    KubeError,
    Session,
    run_session,
    seconds_of,
    shown_name,
    targets,
)
from groundplane.cli.kube.watching import states
from groundplane.cli.options import Command, Parsed, number, text
from groundplane.cli.place import Place
from groundplane.client.contract import JSON_PATCH, STRATEGIC_PATCH, Object
from groundplane.client.resources import DEPLOYMENTS, REPLICA_SETS

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
COMMAND = Command(
    "kube rollout",
    "status|history|undo|restart|pause|resume TYPE/NAME [OPTIONS]",
    "Watch, restart or undo a Deployment's rollout.",
    (
        *NAMESPACE,
        text("timeout", "", "duration", "status: how long to wait (0s: for ever)", "0s"),
        text("watch", "w", "bool", "status: wait until the rollout is over", "true"),
        number("to-revision", "", "undo: the revision to go back to (0: the one before)", 0),
    ),
    minimum=1,
)
_Verb = Callable[[Session, Parsed, str], Awaitable[None]]


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    verb = _VERBS.get(parsed.words[0])
    if verb is None:
        raise UsageError(f"ground kube rollout: '{parsed.words[0]}' is not offered; offered are {', '.join(_VERBS)}")
    if len(parsed.words) < 2:
        raise UsageError("error: required resource not specified")
    pairs = targets(parsed.words[1:])
    for resource, name in pairs:
        if resource != DEPLOYMENTS:
            raise UsageError(f"ground kube rollout: {resource.group_resource} is not offered; deployments are")
        if not name:
            raise UsageError("error: resource(s) were provided, but no name was specified")

    async def work(session: Session) -> None:
        for _, name in pairs:
            await verb(session, parsed, name)

    run_session(place, parsed, work)
    return 0


async def _status(session: Session, parsed: Parsed, name: str) -> None:
    await _get(session, name)  # what is not there is an error, not something to wait for
    watch = parsed.text("watch") not in ("false", "0", "f")
    try:
        async with (
            asyncio.timeout(seconds_of(parsed.text("timeout")) or None),
            aclosing(states(session, DEPLOYMENTS, name)) as changes,
        ):
            async for deployment in changes:
                if deployment is None:
                    raise KubeError("error: object has been deleted")
                sentence, over = words.progress(deployment)
                sys.stdout.write(sentence + "\n")
                sys.stdout.flush()
                if over or not watch:
                    return
    except TimeoutError:
        raise KubeError("error: timed out waiting for the condition") from None


async def _history(session: Session, parsed: Parsed, name: str) -> None:
    deployment = await _get(session, name)
    table = words.history(await _sets(session, deployment))
    sys.stdout.write("\n".join((f"{shown_name(DEPLOYMENTS, name)} ", *table)) + "\n\n")


async def _undo(session: Session, parsed: Parsed, name: str) -> None:
    deployment = await _get(session, name)
    if deployment["spec"].get("paused"):
        raise KubeError(
            "error: you cannot rollback a paused deployment;"
            f" resume it first with 'kubectl rollout resume deployment/{name}' and try again"
        )
    sets = await _sets(session, deployment)
    revision, template = words.template_to_restore(deployment, sets, parsed.number("to-revision") or 0)
    if revision == words.revision_of(deployment):
        sys.stdout.write(
            f"{shown_name(DEPLOYMENTS, name)} skipped rollback (current template already matches revision {revision})\n"
        )
        return
    patch = [{"op": "replace", "path": "/spec/template", "value": template}]
    await session.of(DEPLOYMENTS).patch(name, patch, session.namespace, type=JSON_PATCH, field_manager=MANAGER)
    sys.stdout.write(f"{shown_name(DEPLOYMENTS, name)} rolled back\n")


async def _restart(session: Session, parsed: Parsed, name: str) -> None:
    if (await _get(session, name))["spec"].get("paused"):
        raise KubeError(f'error: deployments.apps "{name}" can\'t restart paused deployment (run rollout resume first)')
    stamp = {"metadata": {"annotations": {_RESTARTED: rfc3339(time.time())}}}
    await _patch(session, name, {"spec": {"template": stamp}})
    sys.stdout.write(f"{shown_name(DEPLOYMENTS, name)} restarted\n")


async def _pause(session: Session, parsed: Parsed, name: str) -> None:
    if (await _get(session, name))["spec"].get("paused"):
        raise KubeError(f'error: deployments.apps "{name}" is already paused')
    await _patch(session, name, {"spec": {"paused": True}})
    sys.stdout.write(f"{shown_name(DEPLOYMENTS, name)} paused\n")


async def _resume(session: Session, parsed: Parsed, name: str) -> None:
    if not (await _get(session, name))["spec"].get("paused"):
        raise KubeError(f'error: deployments.apps "{name}" is not paused')
    await _patch(session, name, {"spec": {"paused": None}})
    sys.stdout.write(f"{shown_name(DEPLOYMENTS, name)} resumed\n")


async def _get(session: Session, name: str) -> Object:
    return await session.of(DEPLOYMENTS).get(name, session.namespace)


async def _patch(session: Session, name: str, patch: Object) -> None:
    await session.of(DEPLOYMENTS).patch(name, patch, session.namespace, type=STRATEGIC_PATCH, field_manager=MANAGER)


async def _sets(session: Session, deployment: Object) -> dict[int, Object]:
    items, _ = await session.of(REPLICA_SETS).list_all(session.namespace)
    return words.owned(deployment, items)


_VERBS: dict[str, _Verb] = {
    "status": _status,
    "history": _history,
    "undo": _undo,
    "restart": _restart,
    "pause": _pause,
    "resume": _resume,
}
