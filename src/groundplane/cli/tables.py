"""Listings: docker's tables, `--format` with JSON or a template, `--quiet`."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PAD = 3  # blanks between columns
_MIN_WIDTH = 10  # text/tabwriter's minimum cell, as docker sets it


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(_MIN_WIDTH, *(len(line[i]) + _PAD for line in lines)) for i in range(len(headers))]
    out = ("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(out) + "\n"


def listing(
    rows: Sequence[Mapping[str, str]], columns: Sequence[tuple[str, str]], form: str, headers: Mapping[str, str]
) -> str:
    """Rows in the form that was asked for: "" or `table` (the columns), `json`, or a template, `table` before it.

    `columns` are (header, field); `headers` name every field for `table {{.Field}}`.
    """
    if form in ("", "table"):
        return table([header for header, _ in columns], ([row[field] for _, field in columns] for row in rows))
    if form == "json":
        import json

        return "".join(json.dumps(dict(row), sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
    from groundplane.cli.template import Template

    if form.startswith("table "):
        template = Template(form.removeprefix("table ").replace("\\t", "\t"))
        lines = [template.render(headers), *(template.render(row) for row in rows)]
        cells = [line.split("\t") for line in lines]
        width = max(len(line) for line in cells)
        return table(
            cells[0] + [""] * (width - len(cells[0])), (line + [""] * (width - len(line)) for line in cells[1:])
        )
    template = Template(form.replace("\\t", "\t").replace("\\n", "\n"))
    return "".join(template.render(row) + "\n" for row in rows)


def show(text: str) -> None:
    sys.stdout.write(text)


def ellipsis(text: str, limit: int) -> str:
    """formatter.Ellipsis: at most `limit` characters, the last one an ellipsis where something is left out."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def short_id(id: str) -> str:
    """12 digits, without the algorithm."""
    return id.removeprefix("sha256:")[:12]


def filter_argument(words: Sequence[str]) -> str:
    """`--filter a=b --filter a=c` as the API's JSON; empty without filters. Raises UsageError."""
    if not words:
        return ""
    import json

    from groundplane.base.errors import UsageError

    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"invalid filter '{word}': `name=value` expected")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return json.dumps(found)
