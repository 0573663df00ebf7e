"""The types of Kubernetes' API: what each field is, how lists and maps merge, where a field is on the wire.

    pod = type_of("", "v1", "Pod")              # kind "struct", name "core.v1.Pod"
    spec = pod.fields["spec"].type              # core.v1.PodSpec
    containers = spec.fields["containers"].type # kind "list", list_type "map", list_keys ("name",)
    containers.element                          # core.v1.Container

Structs are named by package and name (`core.v1.PodSpec`); `full_name` gives OpenAPI's.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from groundplane.kinds import pack

# The kinds of a type. Each says how the value looks in JSON.
STRUCT, MAP, LIST = "struct", "map", "list"
STRING, INTEGER, NUMBER, BOOLEAN = "string", "integer", "number", "boolean"
BYTES = "bytes"  # base64 text
QUANTITY, INT_OR_STRING, TIME, MICRO_TIME = "quantity", "intorstring", "time", "microtime"
ANY = "any"  # any JSON value: RawExtension, FieldsV1, JSON, and a JSON schema's "this or that"

_ROOTS = {
    "meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration.v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
    "version": "io.k8s.apimachinery.pkg.version",
}


class Type:
    """What a value is.

    `kind` is one of the constants above. Structs have a `name` and `fields` (by JSON name, in the order of Go's
    struct); lists and maps an `element`. `atomic`: server-side apply owns the value as a whole. `list_type` is
    "atomic", "set" or "map" (then `list_keys`). `format` tells int32 from int64, and the unions of JSON schemas
    (`schemaorarray`, `schemaorbool`, `schemaorstrings`) from other "any" values.
    """

    __slots__ = ("_fields", "atomic", "element", "format", "kind", "list_keys", "list_type", "name")

    def __init__(
        self,
        kind: str,
        name: str = "",
        *,
        format: str = "",
        atomic: bool = False,
        element: Type | None = None,
        list_type: str = "",
        list_keys: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.name = name
        self.format = format
        self.atomic = atomic
        self.element = element
        self.list_type = list_type
        self.list_keys = list_keys
        self._fields: dict[str, Field] | None = None

    @property
    def fields(self) -> dict[str, Field]:
        """A struct's fields by JSON name; empty for everything else. Read from the pack when first asked for."""
        if self._fields is None:
            self._fields = _fields(self.name) if self.kind == STRUCT else {}
        return self._fields

    @property
    def short_name(self) -> str:
        """Go's name of the struct: `PodSpec`."""
        return self.name.rpartition(".")[2]

    @property
    def full_name(self) -> str:
        """OpenAPI's name: `io.k8s.api.core.v1.PodSpec`."""
        package, _, bare = self.name.rpartition(".")
        return f"{_ROOTS.get(package, 'io.k8s.api.' + package)}.{bare}"


class Field:
    """One field of a struct.

    `omitempty` and `pointer` are those of the Go struct: a field that is not a pointer loses its zero value where it is
    `omitempty`, and shows it where it is not. `numbers` is the path of protobuf field numbers, longer than one where
    Go embeds the struct. `strategies` and `merge_key` are strategic merge patch's. `default` is upstream's declared
    default as JSON text. `go_name` is the Go struct field's name.
    """

    __slots__ = (
        "default", "enum", "go_name", "merge_key", "name", "numbers", "omitempty", "pointer", "required",
        "strategies", "type",
    )  # fmt: skip

    def __init__(self, name: str, type: Type, flags: str, numbers: tuple[int, ...], more: dict[str, Any]) -> None:
        self.name = name
        self.type = type
        self.required = "r" in flags
        self.omitempty = "o" in flags
        self.pointer = "p" in flags
        self.numbers = numbers
        self.strategies: tuple[str, ...] = tuple(more["ps"].split(",")) if "ps" in more else ()
        self.merge_key: str = more.get("mk", "")
        self.go_name: str = more.get("gn", "") or name[:1].upper() + name[1:]
        self.default: str = more.get("df", "")
        self.enum: tuple[str, ...] = tuple(more.get("en", ()))

    @property
    def kind(self) -> str:
        return self.type.kind

    @property
    def value_struct(self) -> bool:
        """A struct by value: Go's encoder always writes it, at least as `{}`."""
        return self.type.kind == STRUCT and not self.pointer


_SCALARS = {
    "s": Type(STRING),
    "i": Type(INTEGER, format="int32"),
    "l": Type(INTEGER, format="int64"),
    "b": Type(BOOLEAN),
    "d": Type(NUMBER, format="double"),
    "y": Type(BYTES),
    "q": Type(QUANTITY),
    "x": Type(INT_OR_STRING),
    "t": Type(TIME),
    "u": Type(MICRO_TIME),
    "r": Type(ANY),
    "A": Type(ANY, format="schemaorarray"),
    "B": Type(ANY, format="schemaorbool"),
    "C": Type(ANY, format="schemaorstrings"),
}


@cache
def _typed(shape: str, list_type: str, list_keys: tuple[str, ...], map_type: str) -> Type:
    """The type behind a pack's shape (`s`, `[s`, `{q`, `@core.v1.Pod`), with what the field says of its merging."""
    first = shape[0]
    if first == "[":
        # a list without a declared type is atomic (structured-merge-diff, kube-openapi's schema conversion)
        kept = list_type or "atomic"
        element = _typed(shape[1:], "", (), "")
        return Type(LIST, element=element, list_type=kept, list_keys=list_keys, atomic=kept == "atomic")
    if first == "{":
        return Type(MAP, element=_typed(shape[1:], "", (), ""), atomic=map_type == "atomic")
    if first != "@":
        return _SCALARS[first]
    found = get_type(shape[1:])
    if map_type and found.atomic != (map_type == "atomic"):
        return Type(STRUCT, found.name, atomic=map_type == "atomic")
    return found


_NOTHING: dict[str, Any] = {}


@cache
def _package(package: str) -> dict[str, tuple[int, list[Any]]]:
    return {bare: (atomic, fields) for bare, atomic, fields in pack.rows(package)}


def _fields(name: str) -> dict[str, Field]:
    package, _, bare = name.rpartition(".")
    fields = {}
    for json_name, shape, flags, numbers, *rest in _package(package)[bare][1]:
        more = rest[0] if rest else _NOTHING
        type_ = _typed(shape, more.get("lt", ""), tuple(more.get("lk", ())), more.get("mt", ""))
        kept = sys.intern(json_name)
        fields[kept] = Field(kept, type_, flags, tuple(numbers), more)
    return fields


@cache
def get_type(name: str) -> Type:
    """A struct by its name (`core.v1.PodSpec`). Raises KeyError."""
    package, _, bare = name.rpartition(".")
    return Type(STRUCT, sys.intern(name), atomic=bool(_package(package)[bare][0]))


def type_names() -> list[str]:
    """The names of all types, sorted; for the OpenAPI document. Reads the whole pack."""
    packages = sorted(path.stem for path in pack.files() if path.stem not in ("resources", "columns", "kinds"))
    return [f"{package}.{bare}" for package in packages for bare in _package(package)]


@cache
def kinds() -> dict[tuple[str, str, str], str]:
    """(group, version, kind) → name of its type."""
    return {(group, version, kind): name for group, version, kind, name in pack.rows("kinds")}


# Options travel in any group's version (meta/v1 AddToGroupVersion).
_EVERYWHERE = frozenset(
    {"DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions", "GetOptions", "ListOptions", "WatchEvent"}
)


def type_of(group: str, version: str, kind: str) -> Type | None:
    """The type of a kind, None where it is not built in."""
    name = kinds().get((group, version, kind))
    if name is None and kind in _EVERYWHERE:
        name = f"meta.v1.{kind}"
    return get_type(name) if name else None


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` → ("apps", "v1"); `v1` → ("", "v1")."""
    group, _, version = api_version.rpartition("/")
    return group, version


def field(type_: Type | None, name: str) -> Field | None:
    """A field of a type, None where the type has no such field or is unknown itself."""
    return type_.fields.get(name) if type_ is not None else None
