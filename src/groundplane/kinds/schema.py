"""The types of Kubernetes' API: what each field is, how lists and maps merge, where a field is on the wire.

    pod = type_of("", "v1", "Pod")
    spec = pod.fields["spec"].type              # Type core.v1.PodSpec
    containers = spec.fields["containers"]      # kind "list", list_type "map", list_keys ("name",)
    containers.type                             # Type core.v1.Container: of the elements

Types are named by package and name (`core.v1.PodSpec`); `full_name` gives OpenAPI's.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from groundplane.kinds import pack

# The kinds of a field. Each name says how the value looks in JSON.
STRING, INT32, INT64, BOOLEAN, DOUBLE = "string", "int32", "int64", "boolean", "double"
BYTES = "bytes"  # base64 text
QUANTITY, INT_OR_STRING, TIME, MICRO_TIME = "quantity", "intorstring", "time", "microtime"
RAW = "raw"  # any JSON value: RawExtension, FieldsV1, JSON
SCHEMA_OR_ARRAY, SCHEMA_OR_BOOL, SCHEMA_OR_STRINGS = "schemaorarray", "schemaorbool", "schemaorstrings"
OBJECT, LIST, MAP = "object", "list", "map"

_SCALARS = {
    "s": STRING, "i": INT32, "l": INT64, "b": BOOLEAN, "d": DOUBLE, "y": BYTES, "q": QUANTITY, "x": INT_OR_STRING,
    "t": TIME, "u": MICRO_TIME, "r": RAW, "A": SCHEMA_OR_ARRAY, "B": SCHEMA_OR_BOOL, "C": SCHEMA_OR_STRINGS,
}  # fmt: skip
_ROOTS = {
    "meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "apiextensions.v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration.v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
    "version": "io.k8s.apimachinery.pkg.version",
}


class Shape:
    """What a value is: `kind`, for lists and maps the `item`'s shape, for objects the type's name (`ref`)."""

    __slots__ = ("item", "kind", "ref")

    def __init__(self, kind: str, ref: str = "", item: Shape | None = None) -> None:
        self.kind = kind
        self.ref = ref
        self.item = item

    @property
    def type(self) -> Type | None:
        """The object's type; of a list or map, the type of its innermost elements. None for scalars."""
        shape = self
        while shape.item is not None:
            shape = shape.item
        return get_type(shape.ref) if shape.ref else None


class Field:
    """One field of a type.

    `omitempty` and `pointer` are those of the Go struct: a field that is not a pointer loses its zero value where it is
    `omitempty`, and shows it where it is not. `numbers` is the path of protobuf field numbers, longer than one where
    Go embeds the struct. `list_type` is "", "atomic", "set" or "map" (then `list_keys`); `map_type` "", "atomic" or
    "granular"; `patch_strategy` and `merge_key` are strategic merge patch's. `default` is upstream's declared default
    as JSON text.
    """

    __slots__ = (
        "default", "enum", "list_keys", "list_type", "map_type", "merge_key", "name", "numbers", "omitempty",
        "patch_strategy", "pointer", "required", "shape",
    )  # fmt: skip

    def __init__(self, name: str, shape: Shape, flags: str, numbers: tuple[int, ...], more: dict[str, Any]) -> None:
        self.name = sys.intern(name)
        self.shape = shape
        self.required = "r" in flags
        self.omitempty = "o" in flags
        self.pointer = "p" in flags
        self.numbers = numbers
        self.list_type: str = more.get("lt", "")
        self.list_keys: tuple[str, ...] = tuple(more.get("lk", ()))
        self.patch_strategy: tuple[str, ...] = tuple(more["ps"].split(",")) if "ps" in more else ()
        self.merge_key: str = more.get("mk", "")
        self.map_type: str = more.get("mt", "")
        self.default: str = more.get("df", "")
        self.enum: tuple[str, ...] = tuple(more.get("en", ()))

    @property
    def kind(self) -> str:
        return self.shape.kind

    @property
    def type(self) -> Type | None:
        """The object's type; of a list or map, the type of its elements. None for scalars."""
        return self.shape.type

    @property
    def atomic(self) -> bool:
        """Server-side apply owns this field as a whole (structured-merge-diff: atomic relationship)."""
        kind = self.shape.kind
        if kind == LIST:
            return self.list_type in ("", "atomic")
        if kind == MAP:
            return self.map_type == "atomic"
        if kind == OBJECT:
            kept = self.map_type or ("atomic" if (found := self.type) and found.atomic else "")
            return kept == "atomic"
        return True


class Type:
    """A struct: its fields by JSON name, in the order of Go's struct. `atomic`: apply owns it as a whole."""

    __slots__ = ("atomic", "fields", "name")

    def __init__(self, name: str, fields: dict[str, Field], *, atomic: bool) -> None:
        self.name = name
        self.fields = fields
        self.atomic = atomic

    @property
    def short_name(self) -> str:
        """Go's name of the struct: `PodSpec`."""
        return self.name.rpartition(".")[2]

    @property
    def full_name(self) -> str:
        """OpenAPI's name: `io.k8s.api.core.v1.PodSpec`."""
        package, _, bare = self.name.rpartition(".")
        return f"{_ROOTS.get(package, 'io.k8s.api.' + package)}.{bare}"


@cache
def _shape(text: str) -> Shape:
    first = text[0]
    if first == "[":
        return Shape(LIST, item=_shape(text[1:]))
    if first == "{":
        return Shape(MAP, item=_shape(text[1:]))
    if first == "@":
        return Shape(OBJECT, ref=sys.intern(text[1:]))
    return Shape(_SCALARS[first])


_NOTHING: dict[str, Any] = {}


@cache
def _package(package: str) -> dict[str, tuple[int, list[Any]]]:
    return {bare: (atomic, fields) for bare, atomic, fields in pack.rows(package)}


@cache
def get_type(name: str) -> Type:
    """A type by its name (`core.v1.PodSpec`). Raises KeyError."""
    package, _, bare = name.rpartition(".")
    atomic, rows = _package(package)[bare]
    fields = {}
    for json_name, shape, flags, numbers, *more in rows:
        made = Field(json_name, _shape(shape), flags, tuple(numbers), more[0] if more else _NOTHING)
        fields[made.name] = made
    return Type(name, fields, atomic=bool(atomic))


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
