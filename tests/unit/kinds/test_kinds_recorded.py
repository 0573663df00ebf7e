"""Answers of a real API server, where the recording lies beside the project: creates through decoding, defaults,
preparation and validation. What admission and allocation add on the way is not this package's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from groundplane.kinds import decode, defaults, resources, schema, strategies

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "recorded" / "api.jsonl"
COLLECTION = re.compile(r"/(?:api/(v1)|apis/([^/]+)/([^/]+))/(?:namespaces/([^/]+)/)?([a-z]+)$")

# Fields that other rooms fill in: admission, allocators, reviews, managed fields, the store.
ELSEWHERE = {
    "pods": {
        "spec.serviceAccount", "spec.serviceAccountName", "spec.tolerations", "spec.priority", "spec.preemptionPolicy",
        "spec.volumes", "spec.containers[0].volumeMounts", "spec.containers[0].resources.limits",
        "spec.containers[0].resources.requests", "status.qosClass",
    },
    "services": {"spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"},
    "nodes": {"spec.taints"},
}  # fmt: skip
ANYWHERE = {"metadata.finalizers", "metadata.managedFields", "metadata.annotations", "metadata.name"}
NOT_HERE = {"validation/crd", "verbs/validation-word"}  # extensions and query options have rooms of their own


def _recorded(code: int) -> Iterator[Any]:
    if not RECORDED.exists():
        return
    for line in RECORDED.read_text().splitlines():
        entry = json.loads(line)
        match = COLLECTION.match(entry["path"].partition("?")[0])
        if entry["method"] != "POST" or entry.get("code") != code or not match or not entry.get("answer"):
            continue
        resource = resources.find(match[2] or "", match[1] or match[3], match[5])
        reviews = resource is not None and resource.group.startswith("auth")
        if resource is None or reviews or not isinstance(entry["body"], dict) or entry["id"] in NOT_HERE:
            continue
        yield pytest.param(resource, match[4], entry, id=entry["id"])


def _made(resource: resources.Resource, namespace: str | None, body: Any) -> dict[str, Any]:
    type_ = schema.type_of(resource.group, resource.version, resource.kind)
    assert type_ is not None
    obj = defaults.apply(resource, decode.decode(type_, body)[0])
    if resource.namespaced:
        obj["metadata"].setdefault("namespace", namespace)
    strategies.of(resource).prepare_create(obj, "2026-01-02T03:04:05Z")
    return {"kind": resource.kind, "apiVersion": resource.api_version, **obj}


def _differences(want: Any, got: Any, path: str = "") -> Iterator[str]:
    if isinstance(want, dict) and isinstance(got, dict):
        for key in {**want, **got}:
            yield from _differences(want.get(key), got.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for index, (one, other) in enumerate(zip(want, got, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif want != got and want not in ("TIME", "SET"):
        yield path


@pytest.mark.skipif(not RECORDED.exists(), reason="no recording beside the project")
@pytest.mark.parametrize(("resource", "namespace", "entry"), list(_recorded(201)))
def test_creates_give_the_same_object(resource: resources.Resource, namespace: str | None, entry: Any) -> None:
    obj = _made(resource, namespace, entry["body"])
    known = ANYWHERE | ELSEWHERE.get(resource.plural, set())
    assert [path for path in _differences(entry["answer"], obj) if path not in known] == []
    obj["metadata"].setdefault("name", "generated")
    assert strategies.of(resource).validate_create(obj) == []


@pytest.mark.skipif(not RECORDED.exists(), reason="no recording beside the project")
@pytest.mark.parametrize(("resource", "namespace", "entry"), list(_recorded(422)))
def test_refusals_give_the_same_causes(resource: resources.Resource, namespace: str | None, entry: Any) -> None:
    causes = entry["answer"]["details"]["causes"]
    if any("allocate" in cause["message"] or "valid range" in cause["message"] for cause in causes):
        pytest.skip("the allocator's")
    errors = strategies.of(resource).validate_create(_made(resource, namespace, entry["body"]))
    found = [(error.field, error.reason, error.message) for error in errors]
    assert sorted(found) == sorted((c["field"], c["reason"], c["message"]) for c in causes)
