"""The Pod Security Standards as tables: one field wrong, one complaint in upstream's words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.fakes.machine import bench

from groundplane.apiserver.admission.podsecurity.checks import complaints

GOOD = {
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def spec(context: dict[str, Any] | None = None, container: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    merged = {**GOOD, **(context or {})}
    kept = {k: v for k, v in merged.items() if v is not None}
    return {"containers": [{"name": "c", "securityContext": kept, **(container or {})}], **pod}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (spec(), ""),
        (spec(hostNetwork=True, hostIPC=True), "host namespaces (hostNetwork=true, hostIPC=true)"),
        (spec({"privileged": True}), 'privileged (container "c" must not set securityContext.privileged=true)'),
        (
            spec({"capabilities": {"add": ["SYS_ADMIN", "NET_RAW", "CHOWN"]}}),
            'non-default capabilities (container "c" must not include "NET_RAW", "SYS_ADMIN" in '
            "securityContext.capabilities.add)",
        ),
        (
            spec(container={"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 81}]}),
            'hostPorts (container "c" uses hostPorts 80, 81)',
        ),
        (spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (
            spec({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (
            spec({"procMount": "Unmasked"}),
            'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        ),
        (spec(securityContext={"sysctls": [{"name": "kernel.x", "value": "1"}]}), "forbidden sysctls (kernel.x)"),
    ],
)
def test_baseline(wrong: dict[str, Any], told: str) -> None:
    assert complaints("baseline", wrong, {}) == told
    assert complaints("privileged", wrong, {}) == ""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (spec(), ""),
        (
            spec({"allowPrivilegeEscalation": None}),
            'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
        ),
        (
            spec({"capabilities": None}),
            'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
        ),
        (
            spec({"runAsNonRoot": None}),
            'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
        ),
        (
            spec({"runAsNonRoot": False}),
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (spec({"runAsUser": 0}), 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            spec({"seccompProfile": None}),
            'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
            '"Localhost")',
        ),
        (
            spec(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
            'restricted volume types (volume "v" uses restricted volume type "hostPath")',
        ),
    ],
)
def test_restricted(wrong: dict[str, Any], told: str) -> None:
    assert complaints("restricted", wrong, {}) == told


def test_labels_refuse_and_warn() -> None:
    async def work() -> None:
        async with bench() as b:
            label = "pod-security.kubernetes.io/"
            labels = {label + "enforce": "baseline", label + "warn": "restricted"}
            await b.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "n", "labels": labels}})
            await b.ok("POST", "/api/v1/namespaces/n/serviceaccounts", {"metadata": {"name": "default"}})
            bare = {"containers": [{"name": "c", "image": "x"}]}
            template = {"metadata": {"labels": {"a": "b"}}, "spec": {**bare, "hostPID": True}}
            body = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
            made = await b.call("POST", "/apis/apps/v1/namespaces/n/deployments", body)
            assert made.status == 201 and 'would violate PodSecurity "restricted:latest"' in made.warnings[0]
            pod = {"metadata": {"name": "p"}, "spec": {**bare, "hostPID": True}}
            refused = await b.refused("POST", "/api/v1/namespaces/n/pods", pod)
            assert refused["message"] == (
                'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
            )

    asyncio.run(work())
