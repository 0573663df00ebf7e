"""The part of Go's text/template that people use with docker's --format.

Offered: `{{.A.B}}`, `$` and variables, `{{json .X}}`, `index`, `len`, `join`, `split`, `upper`, `lower`, `title`,
`print`, `println`, `printf` (%s %d %v %q), `eq ne lt le gt ge`, `and or not`, pipes, parentheses, `if`/`else if`/
`else`, `range` (with variables and else), `with`, comments, and the trim marks `{{-` and `-}}`. Everything else is
refused in one sentence. Values are a JSON document's.
"""

from __future__ import annotations

import re

from groundplane.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)|(?P<name>[A-Za-z_]\w*)
    |(?P<field>(?:\$\w*)?(?:\.[A-Za-z_][\w-]*)+|\$\w*|\.)|(?P<sign>:=|[|(),=]))""",
    re.VERBOSE,
)
_ACTION = re.compile(r"\{\{(-\s)?\s*(/\*.*?\*/|.*?)\s*(\s-)?\}\}", re.DOTALL)


class TemplateError(UsageError):
    """The template is wrong, or asks for what a document does not have."""

    exit_code = 64  # docker's "template parsing error"


class Template:
    """A parsed template; `render` gives its text for one document."""

    def __init__(self, source: str) -> None:
        self._nodes = _Parser(source).parse()

    def render(self, document: Mapping[str, Any]) -> str:
        scope: dict[str, Any] = {"$": document}
        return "".join(node(document, scope) for node in self._nodes)


if TYPE_CHECKING:
    Node = Callable[[Any, dict[str, Any]], str]
    Value = Callable[[Any, dict[str, Any]], Any]


class _Parser:
    """Text and actions to closures, by recursive descent over the list of actions."""

    def __init__(self, source: str) -> None:
        self._parts = _split(source)
        self._at = 0

    def parse(self) -> list[Node]:
        nodes, end = self._block(())
        if end:
            raise TemplateError(f"template parsing error: unexpected {{{{{end}}}}}")
        return nodes

    def _block(self, ends: tuple[str, ...]) -> tuple[list[Node], str]:
        """Nodes up to an action whose keyword is in `ends`; that action. Empty where the source ends."""
        nodes: list[Node] = []
        while self._at < len(self._parts):
            kind, content = self._parts[self._at]
            self._at += 1
            if kind == "text":
                nodes.append(_literal(content))
                continue
            keyword = content.split(None, 1)[0] if content.split() else ""
            if keyword in ("end", "else"):
                if keyword not in ends:
                    raise TemplateError(f"template parsing error: unexpected {{{{{keyword}}}}}")
                return nodes, content
            nodes.append(self._action(keyword, content))
        if ends:
            raise TemplateError("template parsing error: unexpected EOF: an {{end}} is missing")
        return nodes, ""

    def _action(self, keyword: str, content: str) -> Node:
        rest = content[len(keyword) :].strip()
        if keyword in ("if", "with"):
            return self._conditional(rest, binds=keyword == "with")
        if keyword == "range":
            return self._range(rest)
        if keyword in ("define", "template", "block", "break", "continue"):
            raise TemplateError(f"template parsing error: {{{{{keyword}}}}} is not offered")
        return _output(content)

    def _conditional(self, condition: str, *, binds: bool) -> Node:
        value = _Expression(condition).whole()
        body, end = self._block(("end", "else"))
        otherwise = self._else(end)

        def run(dot: Any, scope: dict[str, Any]) -> str:
            found = value(dot, scope)
            if not _true(found):
                return "".join(node(dot, scope) for node in otherwise)
            return "".join(node(found if binds else dot, scope) for node in body)

        return run

    def _else(self, end: str) -> list[Node]:
        if end.split()[0] != "else":
            return []
        rest = end.split(None, 1)[1:] or [""]
        if rest[0].startswith("if "):
            return [self._conditional(rest[0][3:], binds=False)]
        nodes, _ = self._block(("end",))
        return nodes

    def _range(self, rest: str) -> Node:
        names: list[str] = []
        if ":=" in rest:
            left, rest = rest.split(":=", 1)
            names = [name.strip() for name in left.split(",")]
        value = _Expression(rest).whole()
        body, end = self._block(("end", "else"))
        otherwise = self._else(end)

        def run(dot: Any, scope: dict[str, Any]) -> str:
            found = value(dot, scope)
            pairs = sorted(found.items()) if isinstance(found, dict) else list(enumerate(found or ()))
            if not pairs:
                return "".join(node(dot, scope) for node in otherwise)
            out = []
            for key, item in pairs:
                bound = [item] if len(names) == 1 else [key, item]
                inner = {**scope, **dict(zip(names, bound, strict=False))}
                out += [node(item, inner) for node in body]
            return "".join(out)

        return run


def _literal(text: str) -> Node:
    return lambda dot, scope: text


def _output(content: str) -> Node:
    variable, assigns, expression = content.partition(":=")
    if assigns and variable.strip().startswith("$"):
        value = _Expression(expression).whole()

        def assign(dot: Any, scope: dict[str, Any]) -> str:
            scope[variable.strip()] = value(dot, scope)
            return ""

        return assign
    shown = _Expression(content).whole()
    return lambda dot, scope: _text(shown(dot, scope))


class _Expression:
    """One pipeline."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(source.rstrip()):
            match = _TOKEN.match(source, at)
            if match is None or match.lastgroup is None:
                raise self._wrong()
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()

    def _wrong(self) -> TemplateError:
        return TemplateError(f"template parsing error: {{{{{self._source}}}}} is not offered")

    def whole(self) -> Value:
        value = self._pipeline()
        if self._tokens:
            raise self._wrong()
        return value

    def _pipeline(self) -> Value:
        value = self._command(None)
        while self._tokens and self._tokens[0] == ("sign", "|"):
            self._tokens.pop(0)
            value = self._command(value)
        return value

    def _command(self, piped: Value | None) -> Value:
        """An operand, or a function with its arguments; what is piped in is the last one."""
        if not self._tokens:
            raise self._wrong()
        kind, word = self._tokens[0]
        if kind != "name" or word in _CONSTANTS:
            if piped is not None:
                raise self._wrong()
            return self._operand()
        self._tokens.pop(0)
        function = _FUNCTIONS.get(word)
        if function is None:
            raise TemplateError(f'template parsing error: function "{word}" not defined')
        arguments: list[Value] = []
        while self._tokens and self._tokens[0] not in (("sign", "|"), ("sign", ")")):
            arguments.append(self._operand())
        if piped is not None:
            arguments.append(piped)

        def call(dot: Any, scope: dict[str, Any]) -> Any:
            try:
                return function(*(argument(dot, scope) for argument in arguments))
            except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
                raise TemplateError(f"template: error calling {word}: {error}") from error

        return call

    def _operand(self) -> Value:
        kind, word = self._tokens.pop(0)
        if kind == "string":
            constant: Any = word[1:-1] if word[0] == "`" else _unquote(word)
            return lambda dot, scope: constant
        if kind == "number":
            number: Any = float(word) if "." in word else int(word)
            return lambda dot, scope: number
        if kind == "name":
            if word in _CONSTANTS:
                return lambda dot, scope: _CONSTANTS[word]
            function = _FUNCTIONS.get(word)
            if function is None:
                raise TemplateError(f'template parsing error: function "{word}" not defined')
            return lambda dot, scope: function()
        if kind == "field":
            return _field(word)
        if word == "(":
            value = self._pipeline()
            if not self._tokens or self._tokens.pop(0) != ("sign", ")"):
                raise self._wrong()
            return value
        raise self._wrong()


def _field(word: str) -> Value:
    base, *names = word.split(".")

    def get(dot: Any, scope: dict[str, Any]) -> Any:
        if base and base not in scope:
            raise TemplateError(f"template parsing error: undefined variable {base!r}")
        value = scope[base] if base else dot
        for name in names:
            if not name:
                continue
            if isinstance(value, dict) and name in value:
                value = value[name]
            else:
                raise TemplateError(f'template: executing at <{word}>: map has no entry for key "{name}"')
        return value

    return get


def _split(source: str) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    at, trim = 0, False
    for match in _ACTION.finditer(source):
        text = source[at : match.start()]
        text = text.lstrip() if trim else text
        parts.append(("text", text.rstrip() if match[1] else text))
        if not match[2].startswith("/*"):
            parts.append(("action", match[2]))
        at, trim = match.end(), bool(match[3])
    rest = source[at:]
    if "{{" in rest:
        raise TemplateError("template parsing error: unclosed action")
    parts.append(("text", rest.lstrip() if trim else rest))
    return parts


def _unquote(word: str) -> str:
    import json

    try:
        text: str = json.loads(word)
    except ValueError:
        raise TemplateError(f"template parsing error: bad string {word}") from None
    return text


def _true(value: Any) -> bool:
    return bool(value)


def _text(value: Any) -> str:
    """As Go's %v prints a value decoded from JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "<no value>"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_text(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_text(item) for item in value) + "]"
    return str(value)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif value is None:
            raise TemplateError("template: error calling index: index of untyped nil")
        else:
            value = value[key]
    return value


def _printf(form: str, *values: Any) -> str:
    remaining = list(values)

    def put(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        value = remaining.pop(0)
        return _json(value) if match[0] == "%q" else _text(value)

    return re.sub(r"%[%svdq]", put, form)


def _all_of(*values: Any) -> Any:
    return next((v for v in values if not _true(v)), values[-1])


def _any_of(*values: Any) -> Any:
    return next((v for v in values if _true(v)), values[-1])


_CONSTANTS = {"true": True, "false": False, "nil": None}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "index": _index,
    "len": len,
    "join": lambda items, by: by.join(_text(item) for item in items),
    "split": lambda text, by: text.split(by),
    "upper": lambda text: _text(text).upper(),
    "lower": lambda text: _text(text).lower(),
    "title": lambda text: _text(text).title(),
    "print": lambda *values: "".join(_text(v) for v in values),
    "println": lambda *values: " ".join(_text(v) for v in values) + "\n",
    "printf": _printf,
    "truncate": lambda text, limit: _text(text)[:limit],
    "eq": lambda first, *others: any(first == other for other in others),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "not": lambda value: not _true(value),
    "and": _all_of,
    "or": _any_of,
}
