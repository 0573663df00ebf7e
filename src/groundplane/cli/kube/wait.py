"""`ground kube wait`: until a condition holds, a field has a value, or objects are gone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import aclosing

from groundplane.base.errors import UsageError
from groundplane.cli.kube.jsonpath import JsonPath
from groundplane.cli.kube.session import (
    NAMESPACE,
    SELECTOR,
    KubeError,
    Session,
    run_session,
    seconds_of,
    shown_name,
    targets,
)
from groundplane.cli.kube.watching import states
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.client.contract import Object
from groundplane.client.resources import Resource

COMMAND = Command(
    "kube wait",
    "TYPE/NAME… | TYPE (-l LABELS | --all) --for=CONDITION [OPTIONS]",
    "Wait for a condition of objects, or for their deletion.",
    (
        *NAMESPACE,
        SELECTOR,
        flag("all", "", "All objects of the type"),
        text("for", "", "what", "condition=NAME[=VALUE], delete, create, or jsonpath={…}[=VALUE]"),
        text("timeout", "", "duration", "How long to wait; 0s looks once", "30s"),
    ),
    minimum=1,
)
Test = Callable[[Object | None], bool]


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    wanted = parsed.text("for")
    holds = test_of(wanted)
    selector, every = parsed.text("selector"), parsed.on("all")

    async def work(session: Session) -> None:
        pairs: list[tuple[Resource, str]] = []
        for resource, name in targets(parsed.words):
            if name:
                pairs.append((resource, name))
            elif not (selector or every):
                raise UsageError("error: resource(s) were provided, but no name was specified")
            else:
                items, _ = await session.of(resource).list_all(session.scope(resource), label_selector=selector)
                pairs += [(resource, item["metadata"]["name"]) for item in items]
        if not pairs and wanted != "delete":
            raise KubeError("error: no matching resources found")
        deadline = asyncio.get_running_loop().time() + max(seconds_of(parsed.text("timeout")), 0.2)
        for resource, name in pairs:
            await _await(session, resource, name, holds, deadline, missing_is_error=wanted not in ("delete", "create"))

    run_session(place, parsed, work)
    return 0


async def _await(
    session: Session, resource: Resource, name: str, holds: Test, deadline: float, *, missing_is_error: bool
) -> None:
    try:
        async with asyncio.timeout_at(deadline), aclosing(states(session, resource, name)) as changes:
            async for found in changes:
                if found is None and missing_is_error:
                    await session.of(resource).get(name, session.scope(resource))  # the server's own sentence
                if holds(found):
                    break
    except TimeoutError:
        raise KubeError(f"error: timed out waiting for the condition on {resource.plural}/{name}") from None
    sys.stdout.write(f"{shown_name(resource, name)} condition met\n")
    sys.stdout.flush()


def test_of(wanted: str) -> Test:
    """What `--for` asks of an object (None: it is not there). Raises UsageError."""
    kind, _, rest = wanted.partition("=")
    if wanted == "delete":
        return lambda found: found is None
    if wanted == "create":
        return lambda found: found is not None
    if kind == "condition" and rest:
        name, _, value = rest.partition("=")
        return lambda found: found is not None and _has_condition(found, name.lower(), (value or "true").lower())
    if kind == "jsonpath" and rest:
        return _field_test(rest)
    raise UsageError(f'error: unrecognized condition: "{wanted}"')


def _has_condition(found: Object, name: str, value: str) -> bool:
    """A condition that speaks of an older generation of the object does not count (kubectl wait/condition.go)."""
    status = found.get("status") or {}
    generation = int(found["metadata"].get("generation") or 0)
    for condition in status.get("conditions") or ():
        if str(condition.get("type")).lower() == name:
            observed = condition.get("observedGeneration", status.get("observedGeneration"))
            if observed is not None and int(observed) < generation:
                return False
            return str(condition.get("status")).lower() == value
    return False


def _field_test(words: str) -> Test:
    expression, brace, value = words.rpartition("}")
    if not brace or (value and not value.startswith("=")) or value == "=":
        raise UsageError(f"error: jsonpath wait format must be --for=jsonpath='{{.field}}'=value, not {words!r}")
    path = JsonPath(expression + brace)

    def holds(found: Object | None) -> bool:
        values = path.values(found) if found is not None else []
        if len(values) > 1:
            raise KubeError("error: given jsonpath expression matches more than one value")
        return bool(values) and (not value or values[0] == value[1:])

    return holds
