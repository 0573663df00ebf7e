"""Bytes and documents from outside: accepted, or the one documented error."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groundplane.base.jsonyaml import dumps, loads
from groundplane.kinds import decode, defaults, protobuf, resources, schema, strategies, tables
from groundplane.wire import kubeproto

CODEC = kubeproto.Codec(protobuf.describe)
NAMES = (
    "core.v1.Pod",
    "apps.v1.Deployment",
    "apiextensions.v1.CustomResourceDefinition",
    "core.v1.Event",
    "meta.v1.Status",
)
NOW = "2026-01-02T03:04:05Z"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(NAMES))
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes, name: str) -> None:
    try:
        CODEC.decode(name, data)
        kubeproto.unwrap(b"k8s\x00" + data)
    except kubeproto.DecodeError:
        pass


def _values(type_: schema.Type, depth: int) -> st.SearchStrategy[Any]:
    """Documents that fit a type more or less."""
    match type_.kind:
        case schema.STRUCT if depth:
            fields = list(type_.fields.values())
            chosen = (
                st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name) if fields else st.just([])
            )
            return chosen.flatmap(
                lambda found: st.fixed_dictionaries({f.name: _values(f.type, depth - 1) for f in found})
            )
        case schema.LIST if depth and type_.element is not None:
            return st.lists(_values(type_.element, depth - 1), max_size=2)
        case schema.MAP if depth and type_.element is not None:
            return st.dictionaries(st.sampled_from(["a", "b"]), _values(type_.element, depth - 1), max_size=2)
        case schema.STRUCT | schema.MAP:
            return st.just({})
        case schema.LIST:
            return st.just([])
        case schema.STRING:
            return st.sampled_from(["", "a", "é"])
        case schema.INTEGER:
            return st.sampled_from([0, 1, -1, 2**31 - 1])
        case schema.NUMBER:
            return st.sampled_from([0, 1.5])
        case schema.BOOLEAN:
            return st.booleans()
        case schema.BYTES:
            return st.sampled_from(["", "AAE="])
        case schema.QUANTITY:
            return st.sampled_from(["0", "1", "500m", "1Gi"])
        case schema.INT_OR_STRING:
            return st.sampled_from([0, 5, "http", "25%"])
        case schema.TIME:
            return st.sampled_from([None, "2026-01-02T03:04:05Z"])
        case schema.MICRO_TIME:
            return st.sampled_from([None, "2026-01-02T03:04:05.000006Z"])
    union = {
        "schemaorarray": [{"type": "string"}, [{"type": "string"}]],
        "schemaorbool": [True, False, {"type": "string"}],
        "schemaorstrings": [{"type": "string"}, ["a"]],
    }
    return st.sampled_from(union.get(type_.format, [{"x": [1, None]}]))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.sampled_from(NAMES).flatmap(lambda n: st.tuples(st.just(n), _values(schema.get_type(n), 5))))
def test_every_document_survives_decoding_and_the_wire(case: tuple[str, Any]) -> None:
    name, data = case
    type_ = schema.get_type(name)
    canonical, unknown = decode.decode(type_, data)
    assert not unknown
    assert decode.decode(type_, canonical)[0] == canonical
    wire = CODEC.decode(name, CODEC.encode(name, canonical))
    assert _without_empty(decode.decode(type_, wire)[0]) == _without_empty(canonical)


def _without_empty(value: Any) -> Any:
    """The wire cannot tell an empty list or map from none, and kinds travel in the envelope."""
    if isinstance(value, dict):
        kept = {key: _without_empty(item) for key, item in value.items()}
        return {
            key: item for key, item in kept.items() if item not in (None, [], {}) and key not in ("kind", "apiVersion")
        }
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


RESOURCES = [r for r in resources.resources() if "create" in r.verbs]


def _documents(resource: resources.Resource) -> st.SearchStrategy[tuple[resources.Resource, Any, Any]]:
    found = schema.type_of(resource.group, resource.version, resource.kind)
    assert found is not None
    one = _values(found, 7)
    return st.tuples(st.just(resource), one, one)


@settings(derandomize=True, max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(RESOURCES).flatmap(_documents))
def test_every_document_is_accepted_or_complained_about(case: tuple[resources.Resource, Any, Any]) -> None:
    resource, first, second = case
    type_ = schema.type_of(resource.group, resource.version, resource.kind)
    assert type_ is not None
    strategy = strategies.of(resource)
    old = defaults.apply(resource, decode.decode(type_, first)[0])
    strategy.prepare_create(old, NOW)
    before = dumps(old)
    new = defaults.apply(resource, decode.decode(type_, second)[0])
    changed = decode.decode(type_, loads(dumps(new)))[0]
    strategy.prepare_update(new, old, NOW)
    strategy.prepare_status(changed, old, NOW)
    complaints = [*strategy.validate_create(old), *strategy.validate_update(new, old)]
    complaints += strategy.validate_status(changed, old)
    assert all(error.field is not None and error.message for error in complaints)
    assert all(isinstance(value, str) for value in strategy.selectable(new).values())
    strategy.warnings(new, old)
    columns, rows = tables.table(resource, [old, new], 0.0)
    assert all(len(row) == len(columns) for row in rows)
    assert dumps(old) == before


@settings(derandomize=True, max_examples=300, deadline=None)
@given(JSON, st.sampled_from(NAMES))
def test_any_document_is_decoded_or_refused(data: Any, name: str) -> None:
    try:
        decode.decode(schema.get_type(name), data)
    except decode.KindDecodeError as error:
        assert str(error)
