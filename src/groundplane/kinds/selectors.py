"""Label and field selectors: parsed from query text or from a LabelSelector object, matched against objects.

Grammar of label selectors: k8s.io/apimachinery/pkg/labels, `Parse`; of field selectors: pkg/fields, `ParseSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from groundplane.base.errors import GroundError


class SelectorError(GroundError):
    """The text or object is not a selector; the message is upstream's where clients show it."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `operator` is =, !=, in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        try:  # gt, lt: both must be whole numbers
            number, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return "!" + self.key
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "gt":
                return f"{self.key}>{self.values[0]}"
            case "lt":
                return f"{self.key}<{self.values[0]}"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none means everything matches, unless `nothing` is set."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        return all(r.matches(labels) for r in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


NOTHING = LabelSelector(nothing=True)

_NAME = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$")
_DNS = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_TOKEN = re.compile(r"\s*(!=|==|=|<|>|!|\(|\)|,|[^\s!=<>(),]+)")
_WORDS = {"in", "notin"}
_SPECIAL = {"!=", "==", "=", "<", ">", "(", ")", ","}  # all tokens but names and "!"
_NO_KEYS = _SPECIAL | _WORDS


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),!h,i`. Raises SelectorError."""
    tokens, position = [], 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SelectorError(f"unable to parse requirement: found '{text[position:]}'")
        tokens.append(match.group(1))
        position = match.end()
    return LabelSelector(tuple(sorted(_requirements(tokens), key=lambda r: r.key)))


def _requirements(tokens: list[str]) -> Iterable[Requirement]:
    reader = _Reader(tokens)
    if (first := reader.peek()) in _NO_KEYS:
        raise SelectorError(f"found '{first}', expected: !, identifier, or 'end of string'")
    while reader.peek():
        yield _requirement(reader)
        if (token := reader.next()) not in ("", ","):
            raise SelectorError(f"found '{token}', expected: ',' or 'end of string'")
        if token == "," and ((after := reader.peek()) in _NO_KEYS or not after):
            raise SelectorError(f"found '{after}', expected: identifier after ','")


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token


def _requirement(reader: _Reader) -> Requirement:
    if reader.peek() == "!":
        reader.next()
        if (name := reader.next()) in _NO_KEYS or name in ("", "!"):
            raise SelectorError(f"unable to parse requirement: found '{name}', expected: identifier")
        return Requirement(_key(name), "!")
    key = _key(reader.next())
    operator = reader.peek()
    if operator in ("", ","):
        return Requirement(key, "exists")
    reader.next()
    if operator in ("in", "notin"):
        return Requirement(key, operator, _set(reader))
    if operator in ("=", "==", "!="):
        return Requirement(key, operator[0] if operator != "!=" else operator, (_exact(reader),))
    if operator in ("<", ">"):
        value = _exact(reader)
        if not re.fullmatch(r"[+-]?[0-9]+", value):
            raise SelectorError(
                f"values[0][{key}]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            )
        return Requirement(key, "gt" if operator == ">" else "lt", (value,))
    raise SelectorError(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")


def _exact(reader: _Reader) -> str:
    if reader.peek() in ("", ","):
        return ""
    if (token := reader.next()) in _SPECIAL or token == "!":
        raise SelectorError(f"unable to parse requirement: found '{token}', expected: identifier")
    return _value(token)


def _set(reader: _Reader) -> tuple[str, ...]:
    if (token := reader.next()) != "(":
        raise SelectorError(f"unable to parse requirement: found '{token}' expected: '('")
    values = []
    while True:
        token = reader.next()
        if token in (",", ")"):
            values.append("")
        else:
            values.append(_value(token))
            token = reader.next()
        if token == ")":
            return tuple(dict.fromkeys(values))
        if token != ",":
            raise SelectorError(f"unable to parse requirement: found '{token}', expected: ',' or ')'")


def _key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    good = len(name) <= 63 and _NAME.match(name) and (not slash or (len(prefix) <= 253 and _DNS.match(prefix)))
    if not good:
        raise SelectorError(
            f"unable to parse requirement: <nil>: Invalid value: {_quoted(key)}: name part must consist of "
            "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. "
            "'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return key


def _value(value: str) -> str:
    if value and (len(value) > 63 or not _NAME.match(value)):
        raise SelectorError(
            f"unable to parse requirement: <nil>: Invalid value: {_quoted(value)}: a valid label must be an empty "
            "string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
            "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return value


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A metav1.LabelSelector: null matches nothing, an empty one everything. Raises SelectorError."""
    if selector is None:
        return NOTHING
    requirements = [Requirement(k, "=", (v,)) for k, v in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or ():
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""))
        if operator is None:
            raise SelectorError(f'"{expression.get("operator")}" is not a valid label selector operator')
        requirements.append(Requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ())))
    return LabelSelector(tuple(sorted(requirements, key=lambda r: r.key)))


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """A plain map of labels, such as a Service's selector; empty matches everything."""
    return LabelSelector(tuple(Requirement(k, "=", (v,)) for k, v in sorted((labels or {}).items())))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`path` equals (or not) `value`; an absent field is the empty string."""

    path: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class FieldSelector:
    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, fields: Mapping[str, str]) -> bool:
        """`fields` holds the selectable fields of one object."""
        return all((fields.get(r.path, "") == r.value) != r.negated for r in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.requirements

    def required(self, path: str) -> str | None:
        """The one value that `path` must have, where the selector says so."""
        for r in self.requirements:
            if r.path == path and not r.negated:
                return r.value
        return None


def parse_fields(text: str) -> FieldSelector:
    r"""`metadata.name=a,status.phase!=Running`; `\,`, `\=` and `\\` are escapes. Raises SelectorError."""
    requirements = []
    for term in re.split(r"(?<!\\),", text) if text else ():
        if not term:
            continue
        match = re.match(r"^((?:[^\\!=]|\\.)+?)(!=|==|=)(.*)$", term, re.DOTALL)
        if match is None:
            raise SelectorError(f"invalid selector: {_quoted(text)}; can't understand {_quoted(term)}")
        path, operator, value = match.groups()
        requirements.append(FieldRequirement(path, _unescape(value), operator == "!="))
    return FieldSelector(tuple(requirements))


def _unescape(value: str) -> str:
    if re.search(r"(?<!\\)(?:\\\\)*=", value):
        raise SelectorError(f"invalid field selector: unescaped character in value: {value[value.index('=')]!r}")
    return re.sub(r"\\([\\,=])", r"\1", value)
