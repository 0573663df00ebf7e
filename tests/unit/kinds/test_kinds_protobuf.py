"""Protobuf: known bytes, both directions, and frames cut anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.kinds import decode, protobuf, schema
from groundplane.wire import kubeproto

CODEC = kubeproto.Codec(protobuf.describe)


def _round(api_version: str, kind: str, data: dict[str, Any]) -> None:
    type_ = schema.type_of(*schema.split_api_version(api_version), kind)
    assert type_ is not None
    canonical, unknown = decode.decode(type_, data)
    assert not unknown
    again = CODEC.decode(type_.name, CODEC.encode(type_.name, canonical))
    assert decode.decode(type_, again)[0] == canonical


def test_known_bytes() -> None:
    message = CODEC.encode("core.v1.ConfigMap", {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert message == b"\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v"
    body = kubeproto.wrap("v1", "ConfigMap", message)
    assert body.startswith(b"k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d")
    assert kubeproto.unwrap(body) == ("v1", "ConfigMap", message)


def test_every_kind_of_value_survives() -> None:
    probe = {"httpGet": {"port": "http"}, "terminationGracePeriodSeconds": 0}
    source = {"configMapKeyRef": {"name": "c", "key": "k", "optional": False}}
    container = {
        "name": "c",
        "env": [{"name": "A", "valueFrom": source}],
        "livenessProbe": probe,
        "resources": {"limits": {"cpu": "500m"}},
        "securityContext": {"runAsUser": -1},
        "lifecycle": {"preStop": {"tcpSocket": {"port": 80}}},
    }
    volumes = [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}, {"name": "w", "emptyDir": {}}]
    meta = {"name": "p", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"a": ""}}
    managed = {"manager": "m", "fieldsV1": {"f:a": {}}, "time": "1969-12-31T23:59:59Z"}
    _round("v1", "Pod", {"metadata": {**meta, "managedFields": [managed]}, "spec": {"containers": [container]}})
    _round(
        "v1", "Pod", {"spec": {"volumes": volumes, "ephemeralContainers": [{**container, "targetContainerName": "x"}]}}
    )
    _round("v1", "Secret", {"data": {"a": "AAE=", "b": ""}})
    _round("coordination.k8s.io/v1", "Lease", {"spec": {"renewTime": "2026-01-02T03:04:05.000006Z"}})
    _round("apps/v1", "ControllerRevision", {"data": {"a": [1, None]}, "revision": 5})
    user = {"user": "u", "extra": {"k": ["a", "b"], "empty": []}}
    _round("authorization.k8s.io/v1", "SubjectAccessReview", {"spec": user})
    rule = {"apiGroups": ["*"], "operations": ["CREATE"], "resources": ["pods"], "scope": "*"}
    _round(
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        {"webhooks": [{"name": "w", "rules": [rule]}]},
    )
    properties = {
        "a": {"type": "array", "items": {"type": "string"}, "default": [1]},
        "b": {"x-kubernetes-int-or-string": True, "additionalProperties": False, "maximum": 1.5},
        "c": {"items": [{"$ref": "x"}], "dependencies": {"d": ["e"], "f": {"type": "object"}}},
    }
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"properties": properties}}, "subresources": {"status": {}}}
    _round("apiextensions.k8s.io/v1", "CustomResourceDefinition", {"spec": {"versions": [version]}})


def test_what_a_newer_client_adds_is_skipped() -> None:
    message = CODEC.encode("core.v1.ConfigMap", {"data": {"k": "v"}})
    added = b"\xf8\x07\x01\xfa\x07\x01x\xf9\x0712345678\xfd\x071234"
    assert CODEC.decode("core.v1.ConfigMap", message + added) == {"data": {"k": "v"}}


def test_packed_numbers_are_read() -> None:
    assert CODEC.decode("core.v1.PodSecurityContext", b"\x22\x02\x01\x02") == {"supplementalGroups": [1, 2]}


@pytest.mark.parametrize("body", [b"", b"k8s", b"{}", b"k8s\x00\x0a\x05\x0a", b"k8s\x00\xff" * 3])
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(kubeproto.DecodeError):
        kubeproto.unwrap(body)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(kubeproto.EncodeError):
        CODEC.encode("core.v1.Secret", {"data": {"a": 5}})


@pytest.mark.parametrize("cut", range(1, 30, 3))
def test_frames_come_whole_wherever_the_stream_is_cut(cut: int) -> None:
    stream = kubeproto.frame("ADDED", b"one") + kubeproto.frame("BOOKMARK", b"")
    buffer, found = bytearray(), []
    for part in (stream[:cut], stream[cut:]):
        buffer += part
        found += kubeproto.unframe(buffer)
    assert found == [("ADDED", b"one"), ("BOOKMARK", b"")]
    assert not buffer
