"""What the decoder keeps, completes, canonicalizes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.kinds import decode, duplicates, schema


def _type(api_version: str, kind: str) -> schema.Type:
    found = schema.type_of(*schema.split_api_version(api_version), kind)
    assert found is not None
    return found


def _decode(api_version: str, kind: str, data: Any) -> dict[str, Any]:
    return decode.decode(_type(api_version, kind), data)[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"metadata": {"name": True}},
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.name of type string",
        ),
        (
            {"spec": {"replicas": "x"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 1.5}},
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"replicas": 1 << 31}},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            {"spec": {"template": {"spec": {"containers": {}}}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type"
            " []v1.Container",
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"image": 1}]}}}},
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type"
            " string",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        ([], "json: cannot unmarshal array into Go value of type v1.Deployment"),
        (
            {"spec": {"strategy": {"rollingUpdate": {"maxSurge": True}}}},
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            {"metadata": {"creationTimestamp": "x"}},
            'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
        ),
    ],
)
def test_wrong_types_are_refused_in_upstreams_words(data: Any, message: str) -> None:
    with pytest.raises(decode.KindDecodeError) as error:
        _decode("apps/v1", "Deployment", data)
    assert str(error.value) == message


def test_zero_values_stay_where_go_keeps_them() -> None:
    out = _decode(
        "apps/v1",
        "Deployment",
        {
            "metadata": {"name": "", "labels": {}, "creationTimestamp": None},
            "spec": {
                "replicas": 0,
                "paused": False,
                "template": {"spec": {"containers": [{"name": "c", "stdin": False, "command": []}]}},
            },
            "status": {"replicas": 0},
        },
    )
    assert out == {
        "metadata": {},
        "spec": {
            "replicas": 0,
            "selector": None,
            "template": {"metadata": {}, "spec": {"containers": [{"name": "c", "resources": {}}]}},
            "strategy": {},
        },
        "status": {},
    }


def test_values_get_their_canonical_form() -> None:
    out = _decode(
        "v1",
        "Pod",
        {
            "metadata": {"creationTimestamp": "2026-01-02T05:04:05.5+02:00"},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "0.5", "memory": 1024}}}]},
        },
    )
    assert out["metadata"]["creationTimestamp"] == "2026-01-02T03:04:05Z"
    assert out["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1024"}
    assert _decode("v1", "Secret", {"data": {"a": "YWI=\n", "b": None}})["data"] == {"a": "YWI=", "b": None}


@pytest.mark.parametrize(("text", "byte"), [("!", 0), ("YWI", 3), ("YW=I", 2)])
def test_bad_base64_is_named_by_its_byte(text: str, byte: int) -> None:
    with pytest.raises(decode.KindDecodeError, match=f"illegal base64 data at input byte {byte}"):
        _decode("v1", "Secret", {"data": {"a": text}})


def test_unknown_fields_are_dropped_and_named() -> None:
    data = {"metadata": {"name": "q", "foo": 1}, "spec": {"containers": [{"name": "c"}, {"bar": 2}]}, "Kind": "Pod"}
    out, unknown = decode.decode(_type("v1", "Pod"), data)
    assert unknown == [
        'unknown field "metadata.foo"',
        'unknown field "spec.containers[1].bar"',
        'unknown field "Kind"',
    ]
    assert "foo" not in out["metadata"]


def test_a_null_is_absent_and_no_unknown_field() -> None:
    out, unknown = decode.decode(_type("v1", "ConfigMap"), {"metadata": None, "data": None, "immutable": None})
    assert (out, unknown) == ({"metadata": {}}, [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"spec":{"replicas":1,"replicas":2}}', ['duplicate field "spec.replicas"']),
        (b'{"a" : 1, "a"\n:2}', ['duplicate field "a"']),
        (b'{"a":[{"b":1,"b":2}]}', ['duplicate field "a[0].b"']),
        (b'{"a": "\\":", "b": "\\u0022:"}', []),
        (b'{\n  "a": 1,\n  "b": 2\n}', []),
    ],
)
def test_fields_named_twice_are_found_in_the_text(text: bytes, found: list[str]) -> None:
    from groundplane.base.jsonyaml import loads

    assert duplicates.find(text, loads(text)) == found
