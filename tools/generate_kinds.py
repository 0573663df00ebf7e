#!/usr/bin/env python3
"""Generate the schema pack `src/groundplane/kinds/packed/` from tables of Kubernetes 1.36.

    tools/generate_kinds.py REFERENCE_DIRECTORY

REFERENCE_DIRECTORY holds fields.tsv, kinds.tsv, resources.tsv, columns.tsv, protobuf.tsv and bootstrap.jsonl (facts
read out of one build). What those tables cannot say is here: `kinds_go.tsv` beside this file has the order of Go's
struct fields, whether each is a pointer (`p`) and `omitempty` (`o`), which decides what the server's JSON leaves out,
and their Go names where these are not the JSON names with a capital; ATOMIC has the structs marked
`+structType=atomic`. The format is described in docs/design/kinds.md.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, str]

ATOMIC = {
    "admissionregistration.v1": "MatchResources NamedRuleWithOperations ParamKind ParamRef Variable",
    "autoscaling.v1": "CrossVersionObjectReference",
    "core.v1": "ConfigMapKeySelector EndpointAddress EndpointPort FileKeySelector LocalObjectReference NodeSelector"
    " NodeSelectorTerm ObjectFieldSelector ObjectReference ResourceFieldSelector ScopeSelector SecretKeySelector"
    " SecretReference TopologySelectorTerm TypedLocalObjectReference",
    "discovery.v1": "EndpointPort",
    "networking.v1": "ServiceBackendPort",
    "rbac.v1": "RoleRef Subject",
    "meta.v1": "LabelSelector OwnerReference",
}

# `omitzero` beside `omitempty`: since 1.34 an unset creationTimestamp is left out instead of null.
OMITZERO = {("meta.v1.ObjectMeta", "creationTimestamp")}

SCALARS = {
    "string": "s",
    "integer:int32": "i",
    "integer:int64": "l",
    "boolean": "b",
    "number:double": "d",
    "string:byte": "y",
    "int32": "i",
    "int64": "l",
    "bool": "b",
    "double": "d",
    "bytes": "y",
}
SPECIAL = {
    "resource.Quantity": "q",
    "intstr.IntOrString": "x",
    "meta.v1.Time": "t",
    "meta.v1.MicroTime": "u",
    "meta.v1.FieldsV1": "r",
    "runtime.RawExtension": "r",
    "apiextensions.v1.JSON": "r",
    "apiextensions.v1.JSONSchemaPropsOrArray": "A",
    "apiextensions.v1.JSONSchemaPropsOrBool": "B",
    "apiextensions.v1.JSONSchemaPropsOrStringArray": "C",
    "apiextensions.v1.CustomResourceSubresourceStatus": "r",
    "authentication.v1.ExtraValue": "[s",
    "authorization.v1.ExtraValue": "[s",
    "certificates.v1.ExtraValue": "[s",
    "meta.v1.Verbs": "[s",
}
# Packages whose messages have no OpenAPI type, but are spoken on the wire.
WIRE_ONLY = {
    "meta.v1": "CreateOptions UpdateOptions PatchOptions GetOptions ListOptions TableOptions PartialObjectMetadata"
    " PartialObjectMetadataList List",
    "core.v1": "List PodExecOptions PodAttachOptions PodLogOptions PodPortForwardOptions PodProxyOptions"
    " NodeProxyOptions ServiceProxyOptions RangeAllocation",
    "admission.v1": "AdmissionReview AdmissionRequest AdmissionResponse",
    "apidiscovery.v2": "APIGroupDiscovery APIGroupDiscoveryList APIResourceDiscovery APISubresourceDiscovery"
    " APIVersionDiscovery",
    "apiextensions.v1": "ConversionReview ConversionRequest ConversionResponse",
}
# Messages that meta/v1 embeds by name only; decoded as the meta types they mirror.
META_KINDS = {"meta.v1.GroupVersionKind", "meta.v1.GroupVersionResource", "meta.v1.TypeMeta"}


def table(path: Path) -> Iterator[Row]:
    with path.open(newline="") as source:
        yield from csv.DictReader(source, delimiter="\t")


def short(name: str) -> str:
    """`io.k8s.api.core.v1.Pod` → `core.v1.Pod`; `….api.resource.Quantity` → `resource.Quantity`."""
    parts = name.split(".")
    versioned = len(parts) > 2 and parts[-2][:1] == "v" and parts[-2][1:2].isdigit()
    return ".".join(parts[-3:] if versioned else parts[-2:])


def shape(field_type: str) -> str:
    """One string for a field's type: `s`, `[s`, `{q`, `@core.v1.Pod`, `[@core.v1.Container`."""
    if field_type.startswith("[]"):
        return "[" + shape(field_type[2:])
    if field_type == "map:array[]":
        return "{[s"
    if field_type.startswith("map:"):
        return "{" + shape(field_type[4:])
    if field_type in SCALARS:
        return SCALARS[field_type]
    name = short(field_type)
    return SPECIAL.get(name, "@" + name)


def message_shape(row: Row, package: str) -> str:
    """The same for a field of a protobuf message."""
    kind = row["type"]
    if row["label"] == "map":
        return "{" + one_message_shape(kind[len("map<string,") : -1], package)
    one = one_message_shape(kind, package)
    return "[" + one if row["label"] == "repeated" else one


def one_message_shape(kind: str, package: str) -> str:
    if kind in SCALARS:
        return SCALARS[kind]
    name = short(kind) if kind.startswith(".") else f"{package}.{kind}"
    return SPECIAL.get(name, "@" + name)


def fold(name: str) -> str:
    """JSON and protobuf names differ in case (`uID`), dashes (`x-kubernetes-…`) and `$`."""
    return name.replace("-", "").replace("$", "").lower()


class Messages:
    """protobuf.tsv: where on the wire a JSON field is, through Go's embedded structs."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.by_name: dict[str, list[Row]] = {}
        for row in rows:
            self.by_name.setdefault(short(row["message"]), []).append(row)

    def numbers(self, name: str, wanted: set[str]) -> dict[str, list[int]]:
        """Folded JSON name → path of field numbers.

        A message field without a JSON field of its name is a struct that Go embeds: a message of its own, so the
        path of what is in it is longer than one.
        """
        found: dict[str, list[int]] = {}
        package = name.rpartition(".")[0]
        for row in self.by_name.get(name, ()):
            number, key = int(row["number"]), fold(row["field"])
            if key in wanted:
                found[key] = [number]
            elif row["type"] not in SCALARS:
                inner = one_message_shape(row["type"], package)[1:]
                for deeper, path in self.numbers(inner, wanted).items():
                    found.setdefault(deeper, [number, *path])
        return found


def extras(row: Row) -> dict[str, Any]:
    """What few fields have: list type and keys, patch strategy and key, map type, default, enumeration."""
    found: dict[str, Any] = {}
    if row["list_type"]:
        found["lt"] = row["list_type"]
    if row["list_map_keys"]:
        found["lk"] = row["list_map_keys"].split(",")
    if row["patch_strategy"]:
        found["ps"] = row["patch_strategy"]
    if row["patch_merge_key"]:
        found["mk"] = row["patch_merge_key"]
    if row["map_type"]:
        found["mt"] = row["map_type"]
    if row["default"]:
        found["df"] = row["default"]
    if row["enum"]:
        found["en"] = row["enum"].split(",")
    return found


def typed_rows(reference: Path, messages: Messages) -> dict[str, list[list[Any]]]:
    """Type → rows of [json name, shape, flags, protobuf path, extras?], in the order of the Go struct."""
    go = {(r["type"], r["field"]): r for r in table(Path(__file__).with_name("kinds_go.tsv"))}
    rows = list(table(reference / "fields.tsv"))
    wanted: dict[str, set[str]] = {}
    for row in rows:
        wanted.setdefault(short(row["type"]), set()).add(fold(row["field"]))
    numbers = {name: messages.numbers(name, fields) for name, fields in wanted.items()}
    types: dict[str, list[tuple[int, list[Any]]]] = {}
    for row in rows:
        name, field = short(row["type"]), row["field"]
        known = go.get((name, field))
        flags = known["flags"] if known else ("" if row["required"] else "op")
        if (name, field) in OMITZERO:
            flags = "op"
        if row["required"]:
            flags += "r"
        path = numbers[name].get(fold(field), [])
        # kind and apiVersion come first, and are in the envelope instead of the message
        order = -1 if field in ("kind", "apiVersion") and not path else int((known and known["order"]) or 90)
        entry: list[Any] = [field, shape(row["field_type"]), flags, path]
        more = extras(row)
        if known and known["go_name"]:
            more["gn"] = known["go_name"]
        if more:
            entry.append(more)
        types.setdefault(name, []).append((order, entry))
    return {
        name: [entry for _, entry in sorted(found, key=lambda pair: (pair[0], pair[1][0] != "kind", pair[1][3]))]
        for name, found in types.items()
    }


def wire_rows(messages: Messages, types: dict[str, list[list[Any]]]) -> None:
    """Add the types that only protobuf.tsv knows."""
    names = [f"{package}.{name}" for package, text in WIRE_ONLY.items() for name in text.split()]
    for name in [*names, *sorted(META_KINDS)]:
        package = name.rpartition(".")[0]
        rows = [[r["field"], message_shape(r, package), "op", [int(r["number"])]] for r in messages.by_name[name]]
        if not any(r[0] == "kind" for r in rows) and name not in META_KINDS:
            rows[:0] = [["kind", "s", "o", []], ["apiVersion", "s", "o", []]]
        types.setdefault(name, rows)


def atomic_names() -> set[str]:
    return {f"{package}.{name}" for package, text in ATOMIC.items() for name in text.split()}


def lines(rows: Iterable[Any]) -> str:
    """A JSON array with one row a line, so that a change shows as a line."""
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n]\n"


def type_files(types: dict[str, list[list[Any]]]) -> dict[str, str]:
    """One file per package, one line per type."""
    packages: dict[str, list[Any]] = {}
    atomic = atomic_names()
    for name in sorted(types):
        package, _, bare = name.rpartition(".")
        packages.setdefault(package, []).append([bare, int(name in atomic), types[name]])
    return {f"{package}.json": lines(rows) for package, rows in packages.items()}


def resource_rows(reference: Path) -> Iterator[list[Any]]:
    """Group, version, resource, subresource, kind's group, version, name; namespaced, singular, short names,
    categories, verbs."""
    for r in table(reference / "resources.tsv"):
        yield [
            *(r[k] for k in ("group", "version", "resource", "subresource", "kind_group", "kind_version", "kind")),
            int(r["scope"] == "Namespaced"),
            r["singular"],
            *(r[k].split(",") if r[k] else [] for k in ("short_names", "categories", "verbs")),
        ]


def column_rows(reference: Path) -> Iterator[list[Any]]:
    """[group, version, resource, [[name, type, format, priority], …]]."""
    found: dict[tuple[str, str, str], list[list[Any]]] = {}
    for r in table(reference / "columns.tsv"):
        cells = found.setdefault((r["group"], r["version"], r["resource"]), [])
        cells.append([r["column"], r["type"], r["format"], int(r["priority"])])
    for key, cells in found.items():
        yield [*key, cells]


def kind_rows(reference: Path) -> Iterator[list[str]]:
    """[group, version, kind, type]."""
    for r in table(reference / "kinds.tsv"):
        yield [r["group"], r["version"], r["kind"], short(r["type"])]
    for name in ["CreateOptions", "UpdateOptions", "PatchOptions", "GetOptions", "ListOptions"]:
        yield ["", "v1", name, f"meta.v1.{name}"]
    yield ["meta.k8s.io", "v1", "PartialObjectMetadata", "meta.v1.PartialObjectMetadata"]
    yield ["meta.k8s.io", "v1", "PartialObjectMetadataList", "meta.v1.PartialObjectMetadataList"]
    yield ["apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList", "apidiscovery.v2.APIGroupDiscoveryList"]
    yield ["admission.k8s.io", "v1", "AdmissionReview", "admission.v1.AdmissionReview"]


def generate(reference: Path) -> dict[str, str]:
    """The pack's files by name."""
    messages = Messages(table(reference / "protobuf.tsv"))
    types = typed_rows(reference, messages)
    wire_rows(messages, types)
    return {
        **type_files(types),
        "resources.json": lines(resource_rows(reference)),
        "columns.json": lines(column_rows(reference)),
        "kinds.json": lines(kind_rows(reference)),
        "bootstrap.jsonl": (reference / "bootstrap.jsonl").read_text(),
    }


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: generate_kinds.py REFERENCE_DIRECTORY", file=sys.stderr)
        return 2
    files = generate(Path(sys.argv[1]))
    pack = Path(__file__).resolve().parent.parent / "src" / "groundplane" / "kinds" / "packed"
    pack.mkdir(parents=True, exist_ok=True)
    for old in pack.glob("*.json*"):
        old.unlink()
    for name, text in files.items():
        (pack / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
