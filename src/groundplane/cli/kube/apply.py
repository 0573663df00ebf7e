"""`ground kube apply -f`: server-side apply of manifests, object by object."""

from __future__ import annotations

import sys

from groundplane.cli.kube.manifests import read
from groundplane.cli.kube.session import FILES, MANAGER, NAMESPACE, Session, of_object, run_session, shown_name
from groundplane.cli.options import Command, flag
from groundplane.cli.place import Place
from groundplane.client.client import call
from groundplane.client.contract import APPLY_PATCH, ApiError, Request

COMMAND = Command(
    "kube apply",
    "-f FILE [OPTIONS]",
    "Create or change objects from files. Conflicts with other managers are refused unless forced.",
    (
        *NAMESPACE,
        FILES,
        flag("force-conflicts", "", "Take over fields that others own"),
        flag("dry-run", "", "Let the server check, and change nothing"),
    ),
    maximum=0,
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    objects = [(of_object(document), document) for document in read(parsed.many("filename"))]
    query = {"fieldManager": MANAGER}
    if parsed.on("force-conflicts"):
        query["force"] = "true"
    if parsed.on("dry-run"):
        query["dryRun"] = "All"
    note = " (server dry run)" if parsed.on("dry-run") else ""

    async def work(session: Session) -> int:
        failed = 0
        for resource, document in objects:
            meta = document.get("metadata") or {}
            namespace = (meta.get("namespace") or session.namespace) if resource.namespaced else ""
            path = resource.path(namespace, str(meta.get("name") or ""))
            try:
                await call(session.client.transport, Request("PATCH", path, query, document, APPLY_PATCH))
            except ApiError as error:
                reason = f" ({error.reason})" if error.reason else ""
                sys.stderr.write(f"Error from server{reason}: {error}\n")
                failed = 1
            else:
                sys.stdout.write(f"{shown_name(resource, meta['name'])} serverside-applied{note}\n")
        return failed

    return run_session(place, parsed, work)
