"""`ground kube scale TYPE/NAME --replicas=N`."""

from __future__ import annotations

import sys

from groundplane.base.errors import UsageError
from groundplane.cli.kube.session import MANAGER, NAMESPACE, Session, run_session, shown_name, targets
from groundplane.cli.options import Command, number
from groundplane.cli.place import Place

COMMAND = Command(
    "kube scale",
    "TYPE/NAME --replicas=N",
    "Set the number of replicas of a Deployment, ReplicaSet or StatefulSet.",
    (*NAMESPACE, number("replicas", "", "The new number")),
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    replicas = parsed.number("replicas")
    if replicas is None or replicas < 0:
        raise UsageError("error: The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")

    async def work(session: Session) -> None:
        for resource, name in targets(parsed.words):
            if not name:
                raise UsageError("error: resource(s) were provided, but no name was specified")
            patch = {"spec": {"replicas": replicas}}
            await session.of(resource).patch(
                name, patch, session.scope(resource), subresource="scale", field_manager=MANAGER
            )
            sys.stdout.write(f"{shown_name(resource, name)} scaled\n")

    run_session(place, parsed, work)
    return 0
