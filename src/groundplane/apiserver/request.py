"""What a request asks for, read from method, path and query alone (k8s.io/apiserver/pkg/endpoints/request).

/api/v1/namespaces/NS/RESOURCE/NAME/SUBRESOURCE…      the core group
/apis/GROUP/VERSION/…                                  every other group
anything else                                          a non-resource path, its verb the method in lower case
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from groundplane.base.caching import remember_short

# requestinfo.go: these follow a namespace's name without being resources in it.
_NAMESPACE_SUBRESOURCES = {"status", "finalize"}
_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """The thing a path names. `verb` may be list where `asked_verb` finds a watch."""

    path: str
    is_resource: bool
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    rest: tuple[str, ...] = ()  # path segments behind a subresource (proxy)


@remember_short(8192)
def parse(method: str, path: str) -> Target:
    """The target of a path; never fails: what is no resource is a non-resource path."""
    verb = _VERBS.get(method, "")
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Target(path, False, method.lower())
    if rest[0] == "watch" and len(rest) > 1:  # the deprecated /api/v1/watch/… form
        rest, verb = rest[1:], "watch"
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource, name = rest[0], rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if not name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    return Target(path, True, verb, group, version, namespace, resource, name, subresource, tuple(rest[3:]))


def asked_verb(target: Target, query: Mapping[str, str]) -> str:
    """The verb that is authorized and carried out: a list with `watch` is a watch."""
    if target.verb == "list" and truth(query.get("watch")):
        return "watch"
    return target.verb


def truth(text: str | None) -> bool:
    """A boolean query parameter (conversion.Convert_Slice_string_To_bool): absent, `false` and `0` are false."""
    return text is not None and text.lower() not in ("false", "0")


class Query(Mapping[str, str]):
    """The query's first values; `all` gives every value of a repeated parameter (`command` of exec)."""

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs
        self._first: dict[str, str] = {}
        for key, value in pairs:
            self._first.setdefault(key, value)

    def __getitem__(self, key: str) -> str:
        return self._first[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def all(self, key: str) -> list[str]:
        return [v for k, v in self._pairs if k == key]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return self._pairs


def parse_query(text: str) -> Query:
    return Query(parse_qsl(text, keep_blank_values=True)) if text else Query([])
