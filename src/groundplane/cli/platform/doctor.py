"""`ground doctor`: what this host offers, line by line; exit code 1 where something that is needed is missing."""

from __future__ import annotations

import json
import sys

from groundplane.base.errors import UsageError
from groundplane.cli.options import Command, text
from groundplane.cli.place import Place

COMMAND = Command(
    "doctor",
    "[OPTIONS]",
    "Try out what this host offers: rights, kernel, ports, neighbours, libraries.",
    (text("format", "", "format", "Output: text or json", "text"),),
    maximum=0,
    note="Nothing is changed. Each line works, is degraded (and how), or is missing (and how to mend it).",
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    form = parsed.text("format")
    if form not in ("text", "json"):
        raise UsageError(f"format {form!r} is not known; use text or json")
    from groundplane.daemon.doctor import examine  # late: only this verb needs it
    from groundplane.daemon.findings import DEGRADED, MISSING

    chapters = examine(place.settings())
    states = [finding.state for _, findings in chapters for finding in findings]
    lacking, lesser = states.count(MISSING), states.count(DEGRADED)
    if form == "json":
        rows = [
            {"chapter": chapter, "name": f.name, "state": f.state, "text": f.text, "mend": f.mend}
            for chapter, findings in chapters
            for f in findings
        ]
        sys.stdout.write(json.dumps({"missing": lacking, "degraded": lesser, "findings": rows}) + "\n")
        return 1 if lacking else 0
    width = max(len(f.name) for _, findings in chapters for f in findings) + 2
    for chapter, findings in chapters:
        if findings:
            sys.stdout.write(f"{chapter}\n")
        for f in findings:
            sys.stdout.write(f"  {f.state:<10}{f.name:<{width}}{f.text}".rstrip() + "\n")
            if f.mend:
                sys.stdout.write(f"  {'':<10}{'':<{width}}to mend it: {f.mend}\n")
    if lacking:
        sys.stdout.write(f"\n{lacking} missing, {lesser} degraded: this host cannot run everything yet.\n")
    else:
        sys.stdout.write(f"\nAll that is needed is here; {lesser} degraded.\n")
    return 1 if lacking else 0
