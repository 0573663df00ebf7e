"""`ground kube get`: objects as the server prints them, or as documents."""

from __future__ import annotations

import json
import sys
from typing import Any

from groundplane.base.errors import UsageError
from groundplane.base.jsonyaml import yaml_dumps
from groundplane.cli.kube.jsonpath import JsonPath
from groundplane.cli.kube.session import (
    ALL_NAMESPACES,
    NAMESPACE,
    SELECTOR,
    Session,
    run_session,
    shown_name,
    targets,
)
from groundplane.cli.options import Command, flag, text
from groundplane.cli.place import Place
from groundplane.client.client import call
from groundplane.client.contract import Request
from groundplane.client.resources import Resource

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
COMMAND = Command(
    "kube get",
    "TYPE [NAME…] | TYPE/NAME… [OPTIONS]",
    "Show objects.",
    (
        *NAMESPACE,
        ALL_NAMESPACES,
        SELECTOR,
        text("field-selector", "", "fields", "Only objects with these fields"),
        text("output", "o", "format", "wide, name, json, yaml or jsonpath={…}"),
        flag("no-headers", "", "Leave the table's head out"),
        flag("show-labels", "", "Show labels as the last column"),
    ),
    minimum=1,
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    wanted = targets(parsed.words)
    output = parsed.text("output")
    query = {"labelSelector": parsed.text("selector"), "fieldSelector": parsed.text("field-selector")}
    query = {k: v for k, v in query.items() if v}
    everywhere = parsed.on("all-namespaces")
    if output in ("", "wide"):
        table = _Table(wide=output == "wide", head=not parsed.on("no-headers"), labels=parsed.on("show-labels"))

        async def tables(session: Session) -> None:
            for resource, name in wanted:
                answer = await _fetch(session, resource, name, query, _TABLE, everywhere=everywhere)
                table.add(resource, answer, several=len({r for r, _ in wanted}) > 1, everywhere=everywhere)

        run_session(place, parsed, tables)
        return table.write(wanted, "" if everywhere else parsed.text("namespace") or "default")
    printer = _printer(output)

    async def documents(session: Session) -> list[Any]:
        found = []
        for resource, name in wanted:
            answer = await _fetch(session, resource, name, query, "application/json", everywhere=everywhere)
            found.append((resource, answer))
        return found

    printer(run_session(place, parsed, documents))
    return 0


async def _fetch(
    session: Session, resource: Resource, name: str, query: dict[str, str], accept: str, *, everywhere: bool
) -> Any:
    path = resource.path("" if everywhere else session.scope(resource), name)
    return await call(session.client.transport, Request("GET", path, {} if name else query, accept=accept))


class _Table:
    """Server-side tables, printed as kubectl prints them."""

    def __init__(self, *, wide: bool, head: bool, labels: bool) -> None:
        self._wide = wide
        self._head = head
        self._labels = labels
        self._blocks: list[list[list[str]]] = []

    def add(self, resource: Resource, table: dict[str, Any], *, several: bool, everywhere: bool) -> None:
        shown = [i for i, c in enumerate(table["columnDefinitions"]) if self._wide or not c.get("priority")]
        head = [table["columnDefinitions"][i]["name"].upper() for i in shown]
        rows = []
        for row in table.get("rows") or ():
            cells = ["<none>" if row["cells"][i] is None else str(row["cells"][i]) for i in shown]
            meta = (row.get("object") or {}).get("metadata") or {}
            if several:
                cells[0] = shown_name(resource, cells[0])
            if everywhere and resource.namespaced:
                cells.insert(0, str(meta.get("namespace", "")))
            if self._labels:
                cells.append(",".join(f"{k}={v}" for k, v in sorted((meta.get("labels") or {}).items())) or "<none>")
            rows.append(cells)
        if not rows:
            return
        if everywhere and resource.namespaced:
            head.insert(0, "NAMESPACE")
        if self._labels:
            head.append("LABELS")
        block = [head, *rows] if self._head else rows
        if self._blocks and self._blocks[-1][0] == head and not several:
            self._blocks[-1] += rows
        else:
            self._blocks.append(block)

    def write(self, wanted: list[tuple[Resource, str]], namespace: str) -> int:
        if not self._blocks:
            place = f" in {namespace} namespace" if namespace and any(r.namespaced for r, _ in wanted) else ""
            sys.stderr.write(f"No resources found{place}.\n" if place else "No resources found\n")
            return 0
        for number, block in enumerate(self._blocks):
            if number:
                sys.stdout.write("\n")
            widths = [max(len(row[i]) for row in block) for i in range(len(block[0]))]
            for row in block:
                padded = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                sys.stdout.write(padded.rstrip() + "\n")
        return 0


def _printer(output: str) -> Any:
    """How to print [(resource, answer)]. Raises UsageError."""
    if output == "name":
        return _print_names
    if output in ("json", "yaml"):
        return lambda found: _print_documents(found, output)
    kind, _, template = output.partition("=")
    if kind == "jsonpath" and template:
        path = JsonPath(template)
        return lambda found: sys.stdout.write(path.render(_whole(found)) + "\n")
    raise UsageError(f"output {output!r} is not offered; use wide, name, json, yaml or jsonpath={{…}}")


def _items(answer: dict[str, Any]) -> list[dict[str, Any]]:
    if "items" not in answer:
        return [answer]
    version, kind = answer.get("apiVersion"), str(answer.get("kind", "")).removesuffix("List")
    return [{"apiVersion": version, "kind": kind, **item} for item in answer["items"] or ()]


def _whole(found: list[tuple[Resource, dict[str, Any]]]) -> dict[str, Any]:
    """What kubectl makes of the answers: the one object, or a List of all."""
    if len(found) == 1 and "items" not in found[0][1]:
        return found[0][1]
    items = [item for _, answer in found for item in _items(answer)]
    return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}


def _print_names(found: list[tuple[Resource, dict[str, Any]]]) -> None:
    for resource, answer in found:
        for item in _items(answer):
            sys.stdout.write(shown_name(resource, item["metadata"]["name"]) + "\n")


def _print_documents(found: list[tuple[Resource, dict[str, Any]]], output: str) -> None:
    whole = _without_managers(_whole(found))
    sys.stdout.write(json.dumps(whole, indent=4) + "\n" if output == "json" else yaml_dumps(whole))


def _without_managers(document: dict[str, Any]) -> dict[str, Any]:
    """kubectl leaves managedFields out unless asked for them."""
    if "items" in document:
        return {**document, "items": [_without_managers(item) for item in document["items"]]}
    meta = {k: v for k, v in (document.get("metadata") or {}).items() if k != "managedFields"}
    return {**document, "metadata": meta}
