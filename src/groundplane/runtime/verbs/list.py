"""`list`: the containers of this root, as a table, as JSON, or by id alone."""

from __future__ import annotations

import json
import pwd
import sys

from groundplane.base.errors import GroundError
from groundplane.runtime.state import Container, Store
from groundplane.runtime.verbs.showing import document_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundplane.runtime.arguments import Parsed
    from groundplane.runtime.commands import Globals

_HEADINGS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def list_containers(given: Parsed, globals: Globals) -> int:
    containers = _load_all(Store(globals.root))
    if given.switch("quiet"):
        for container in containers:
            print(container.id)
        return 0
    rows = [_row(container) for container in containers]
    form = given.value("format", "table")
    if form == "json":
        print(json.dumps(rows or None, separators=(",", ":")))
    elif form == "table":
        _print_table([[str(row[k]) for k in ("id", "pid", "status", "bundle", "created", "owner")] for row in rows])
    else:
        raise GroundError("invalid format option")
    return 0


def _load_all(store: Store) -> list[Container]:
    """Those that can be read; one that is just being made or removed is passed over, a broken one is reported."""
    found = []
    for id in store.ids():
        try:
            found.append(store.load(id))
        except GroundError as error:
            print(f"load container {id}: {error}", file=sys.stderr)
    return found


def _row(container: Container) -> dict[str, object]:
    try:
        owner = pwd.getpwuid(container.owner).pw_name
    except KeyError:
        owner = f"#{container.owner}"
    return {**document_of(container), "owner": owner}


def _print_table(rows: list[list[str]]) -> None:
    """Columns as Go's tabwriter sets them for runc: at least 12 wide, 3 apart."""
    table = [list(_HEADINGS), *rows]
    widths = [max(12, *(len(row[i]) + 3 for row in table)) for i in range(len(_HEADINGS) - 1)]
    for row in table:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) + row[-1])
