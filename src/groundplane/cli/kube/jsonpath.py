"""kubectl's JSONPath, the part that people use: text, `{.a.b}`, `[0]`, `[*]`, `['a.b']`, `range`…`end`, quoted text.

kubernetes.io, "JSONPath Support". Filters and unions are refused in one sentence.
"""

from __future__ import annotations

import json
import re
from typing import Any

from groundplane.base.errors import UsageError

_PART = re.compile(
    r"""\.(?P<name>(?:[\w-]|\\.)+)|\[(?P<index>-?\d+)\]|\[(?P<all>\*)\]|\.(?P<star>\*)|\[['"](?P<quoted>[^'"]*)['"]\]"""
)
_Path = list[tuple[str, str]]


class JsonPath:
    """A parsed template. Raises UsageError where it asks for what is not offered."""

    def __init__(self, template: str) -> None:
        self._tokens = re.findall(r"\{[^{}]*\}|[^{}]+", template)
        if "".join(self._tokens) != template:
            raise UsageError(f"jsonpath {template!r}: unclosed or nested braces")

    def render(self, document: Any) -> str:
        text, rest = self._render(list(self._tokens), document, document)
        if rest:
            raise UsageError("jsonpath: {end} without {range}")
        return text

    def values(self, document: Any) -> list[str]:
        """What a template of one expression finds, as text. Raises UsageError where it is more than one."""
        if len(self._tokens) != 1 or not self._tokens[0].startswith("{"):
            raise UsageError(f"jsonpath {''.join(self._tokens)!r}: one expression in braces expected")
        return [_shown(v) for v in _find(_parse(self._tokens[0][1:-1].strip()), document, document)]

    def _render(self, tokens: list[str], root: Any, here: Any) -> tuple[str, list[str]]:
        out = []
        while tokens:
            token = tokens.pop(0)
            inner = token[1:-1].strip() if token.startswith("{") else None
            if inner is None:
                out.append(token)
            elif inner == "end":
                return "".join(out), ["end", *tokens]
            elif inner.startswith("range "):
                rest: list[str] = []
                for item in _find(_parse(inner[6:].strip()), root, here) or [_NOTHING]:
                    text, rest = self._render(list(tokens), root, item)
                    if item is not _NOTHING:
                        out.append(text)
                tokens = rest[1:]
            elif inner[:1] in "\"'":
                out.append(inner[1:-1].encode().decode("unicode_escape"))
            else:
                out.append(" ".join(_shown(v) for v in _find(_parse(inner), root, here)))
        return "".join(out), []


_NOTHING = object()


def _parse(text: str) -> _Path:
    path: _Path = [("root" if text.startswith("$") else "here", "")]
    rest = text.lstrip("$@")
    if rest and rest[0] not in ".[":
        rest = "." + rest
    position = 0
    while position < len(rest):
        if rest[position:] == ".":
            break
        match = _PART.match(rest, position)
        if match is None:
            raise UsageError(f"jsonpath {text!r}: {rest[position:]!r} is not offered; names, indices and * are")
        kind = match.lastgroup or ""
        path.append((kind, match.group(kind).replace("\\.", ".")))
        position = match.end()
    return path


def _find(path: _Path, root: Any, here: Any) -> list[Any]:
    found = [root if path[0][0] == "root" else here]
    for kind, word in path[1:]:
        following: list[Any] = []
        for value in found:
            if kind in ("all", "star"):
                following += (
                    list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
                )
            elif kind == "index":
                if isinstance(value, list) and -len(value) <= int(word) < len(value):
                    following.append(value[int(word)])
            elif isinstance(value, dict) and word in value:
                following.append(value[word])
        found = following
    return found


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
