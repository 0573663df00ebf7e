"""A status sent as a patch: the API server's strategic merge must end with exactly the status that was meant."""

from __future__ import annotations

from typing import Any

from groundplane.kinds import schema, strategic
from groundplane.node.reports import patch_of


def condition(type_: str, status: str, **more: str) -> dict[str, Any]:
    return {"type": type_, "status": status, **more}


def applied(old: dict[str, Any], new: dict[str, Any]) -> Any:
    pod = schema.type_of("", "v1", "Pod")
    assert pod is not None
    return strategic.apply(pod, {"status": old}, {"status": patch_of(old, new)})["status"]


def test_a_reason_that_is_gone_is_gone() -> None:
    old = {"conditions": [condition("Ready", "False", reason="ContainersNotReady", message="containers [a]")]}
    new = {"conditions": [condition("Ready", "True")]}
    assert applied(old, new) == new


def test_conditions_of_others_stay() -> None:
    other = condition("PodScheduled", "True")
    old = {"conditions": [other, condition("Ready", "False", reason="ContainersNotReady")]}
    after = applied(old, {"conditions": [condition("Ready", "True")]})
    assert sorted(after["conditions"], key=lambda c: c["type"]) == [other, condition("Ready", "True")]


def test_a_field_that_is_gone_is_gone_and_addresses_are_replaced() -> None:
    old = {"reason": "Evicted", "podIPs": [{"ip": "10.244.0.1"}]}
    new = {"phase": "Running", "podIPs": [{"ip": "10.244.0.2"}]}
    assert applied(old, new) == new


def test_an_amount_that_is_gone_is_gone() -> None:
    old = {"resources": {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}, "allocatedResources": {"cpu": "1"}}
    new = {"resources": {"requests": {"cpu": "1"}}, "allocatedResources": {"memory": "1Gi"}}
    assert applied(old, new) == new
