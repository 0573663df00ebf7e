"""`ground kube logs`: what a pod's container wrote."""

from __future__ import annotations

from contextlib import aclosing

from groundplane.base.errors import UsageError
from groundplane.cli.kube.pods import container_of, pod_of
from groundplane.cli.kube.session import NAMESPACE, Session, run_session, seconds_of
from groundplane.cli.options import Command, flag, number, text
from groundplane.cli.place import Place
from groundplane.cli.streams import write_all
from groundplane.client.resources import PODS

COMMAND = Command(
    "kube logs",
    "(POD | TYPE/NAME) [OPTIONS]",
    "Print the log of a pod's container.",
    (
        *NAMESPACE,
        text("container", "c", "name", "The container (the only, the annotated, or the first one)"),
        flag("follow", "f", "Go on as more is written"),
        flag("previous", "p", "Of the container's former instance"),
        number("tail", "", "Lines from the end (-1: all)", -1),
        text("since", "", "duration", "Only what is newer, like 5s, 2m, 3h"),
        text("since-time", "", "time", "Only what was written after an RFC 3339 time"),
        number("limit-bytes", "", "At most as many bytes"),
        flag("timestamps", "", "Begin each line with its time"),
    ),
    minimum=1,
    maximum=2,
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    tail, since = parsed.number("tail"), parsed.text("since")
    if tail is not None and tail < -1:
        raise UsageError("error: --tail must be greater than or equal to -1")
    if since and parsed.text("since-time"):
        raise UsageError("error: only one of --since-time, --since may be used")
    query = {
        "follow": "true" if parsed.on("follow") else "",
        "previous": "true" if parsed.on("previous") else "",
        "timestamps": "true" if parsed.on("timestamps") else "",
        "tailLines": str(tail) if tail is not None and tail >= 0 else "",
        "sinceSeconds": str(max(round(seconds_of(since)), 1)) if since else "",
        "sinceTime": parsed.text("since-time"),
        "limitBytes": str(parsed.number("limit-bytes") or ""),
    }
    asked = parsed.text("container") or (parsed.words[1] if len(parsed.words) > 1 else "")

    async def work(session: Session) -> None:
        pod = await pod_of(session, parsed.words[0])
        wanted = {key: value for key, value in query.items() if value} | {"container": container_of(pod, asked)}
        path = PODS.path(session.namespace, pod["metadata"]["name"], "log")
        async with aclosing(session.transport.lines(path, wanted)) as chunks:
            async for chunk in chunks:
                write_all(1, chunk)

    run_session(place, parsed, work)
    return 0
