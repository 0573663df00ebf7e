"""Bodies that cannot be read, and patches whose result fits no type: upstream's sentences."""

from __future__ import annotations

import pytest

from groundplane.apiserver.access.contract import User
from groundplane.apiserver.call import Call
from groundplane.apiserver.request import Query, Target
from groundplane.apiserver.statuses import StatusError
from groundplane.apiserver.verbs import body, gofmt, patch
from groundplane.kinds import schema

PREFIX = "the object provided is unrecognized (must be of type ConfigMap): "
PARSE = f"{PREFIX}couldn't get version/kind; json parse error: "


def call(text: bytes, content_type: str, **query: str) -> Call:
    target = Target("", True, "patch", "", "v1", "default", "configmaps", "c")
    return Call(
        "PATCH", target, "patch", User("u"), Query(list(query.items())), body=text, content_type=content_type
    )  # fmt: skip


BODIES: list[tuple[str, bytes, str]] = [
    (body.JSON, b"{bad", PARSE + "invalid character 'b' looking for beginning of object key string ({bad)"),
    (body.JSON, b"", PARSE + "unexpected end of JSON input (<empty>)"),
    (body.JSON, b"kind: Pod", PARSE + "invalid character 'k' looking for beginning of value (6b696e643a20506f64)"),
    (
        body.JSON,
        b'{"kind":"ConfigMap","apiVersion":"v1",}',
        PARSE
        + 'invalid character \'}\' looking for beginning of object key string ({"kind":"ConfigMap","apiVersio ...)',
    ),
    (
        body.YAML,
        b"kind: ConfigMap\n\tapiVersion: v1\n",
        PREFIX
        + "yaml: line 2: found a tab character that violates indentation (6b696e643a20436f6e6669674d61700a0961706956657273696f6e3a2076 ...)",  # noqa: E501 because it is one sentence
    ),
]


@pytest.mark.parametrize(("media", "text", "sentence"), BODIES)
def test_a_body_that_cannot_be_read(media: str, text: bytes, sentence: str) -> None:
    with pytest.raises(StatusError) as caught:
        body.read(call(text, media), "", "v1", "ConfigMap")
    assert (caught.value.code, str(caught.value)) == (400, sentence)


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    text = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":{"a":"\xff"}}'
    assert body.read(call(text, body.JSON), "", "v1", "ConfigMap")["data"] == {"a": "\ufffd"}


PATCHES: list[tuple[str, bytes, str]] = [
    (
        body.JSON_PATCH,
        b"{}",
        "error decoding patch: json: cannot unmarshal object into Go value of type []interface {}",
    ),
    (
        body.MERGE_PATCH,
        b"{bad",
        "error decoding patch: invalid character 'b' looking for beginning of object key string",
    ),
    (
        body.MERGE_PATCH,
        b"[]",
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (body.STRATEGIC_PATCH, b"{bad", "invalid character 'b' looking for beginning of object key string"),
    (body.STRATEGIC_PATCH, b'"x"', "json: cannot unmarshal string into Go value of type map[string]interface {}"),
    (
        body.APPLY_PATCH,
        b"a: b: c",
        "error decoding YAML: error converting YAML to JSON: yaml: mapping values are not allowed in this context",
    ),
]


@pytest.mark.parametrize(("media", "text", "sentence"), PATCHES)
def test_a_patch_that_cannot_be_read(media: str, text: bytes, sentence: str) -> None:
    with pytest.raises(StatusError) as caught:
        body.document_of_patch(call(text, media))
    assert (caught.value.code, str(caught.value)) == (400, sentence)


def refusal(made: object, shown: object, **query: str) -> StatusError:
    type_ = schema.type_of("", "v1", "ConfigMap")
    assert type_ is not None
    with pytest.raises(StatusError) as caught:
        patch.typed(type_, call(b"", body.MERGE_PATCH, **query), made, shown)
    return caught.value


def test_a_patched_object_that_fits_no_type() -> None:
    error = refusal({"data": {"a": 1}}, None)
    why = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
    assert (error.code, str(error)) == (
        422,
        f' "" is invalid: patch: Invalid value: "{{\\"data\\":{{\\"a\\":1}}}}": {why}',
    )
    error = refusal({"data": ["x"]}, {"data": ["x"]})
    assert str(error) == ' "" is invalid: patch: Invalid value: "map[data:[x]]": cannot restore map from slice'
    error = refusal({"x": 1}, {"x": 1}, fieldValidation="Strict")
    assert str(error).endswith('"map[x:1]": strict decoding error: unknown field "x"')


def test_values_as_go_prints_them() -> None:
    assert gofmt.value({"b": [1, "x", None], "a": {"c": True}}) == "map[a:map[c:true] b:[1 x <nil>]]"
    assert gofmt.mismatch("string", "int32") == "unrecognized type: int32"
    assert gofmt.mismatch("string", "[]v1.Container") == "cannot restore slice from string"
    assert gofmt.mismatch("array", "v1.PodSpec") == "cannot restore struct from: slice"
