"""`ground kube set image TYPE/NAME CONTAINER=IMAGE…`."""

from __future__ import annotations

import sys

from groundplane.base.errors import UsageError
from groundplane.cli.kube.session import MANAGER, NAMESPACE, Session, run_session, shown_name, targets
from groundplane.cli.options import Command
from groundplane.cli.place import Place
from groundplane.client.contract import STRATEGIC_PATCH

COMMAND = Command(
    "kube set",
    "image TYPE/NAME CONTAINER=IMAGE…",
    "Set the image of a workload's containers.",
    NAMESPACE,
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    if parsed.words[0] != "image":
        raise UsageError(f"ground kube set: '{parsed.words[0]}' is not offered; offered is image")
    pairs = [word for word in parsed.words[1:] if "=" in word]
    named = [word for word in parsed.words[1:] if "=" not in word]
    if not pairs or not named:
        raise UsageError("error: TYPE/NAME and at least one CONTAINER=IMAGE are required")
    containers = [{"name": pair.partition("=")[0], "image": pair.partition("=")[2]} for pair in pairs]

    async def work(session: Session) -> None:
        for resource, name in targets(named):
            spec = {"containers": containers}
            patch = {"spec": spec} if resource.kind == "Pod" else {"spec": {"template": {"spec": spec}}}
            await session.of(resource).patch(
                name, patch, session.scope(resource), type=STRATEGIC_PATCH, field_manager=MANAGER
            )
            sys.stdout.write(f"{shown_name(resource, name)} image updated\n")

    run_session(place, parsed, work)
    return 0
