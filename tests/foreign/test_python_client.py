"""The `kubernetes` client from PyPI against the API server: objects, patches, watches, logs, exec."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, stream, watch
from kubernetes.client.exceptions import ApiException
from tests.fakes.node import FakeNode
from tests.foreign.api_server import running

POD = {
    "metadata": {"name": "p"},
    "spec": {
        "nodeName": "n1",
        "automountServiceAccountToken": False,
        "containers": [{"name": "c", "image": "x"}],
    },
}


@pytest.fixture
def api(state_root: Path) -> Iterator[client.ApiClient]:
    with running(state_root, FakeNode([b"hello\n"])) as server:
        made = config.new_client_from_config(server.kubeconfig)
        try:
            core = client.CoreV1Api(made)
            core.create_node({"metadata": {"name": "n1"}})
            core.create_namespaced_service_account("default", {"metadata": {"name": "default"}})
            yield made
        finally:
            made.close()
            made.rest_client.pool_manager.clear()


def refusal(core: client.CoreV1Api) -> tuple[int, str]:
    """A function of its own, because the exception keeps its connection open for as long as it lives."""
    try:
        core.read_namespaced_config_map("none", "default")
    except ApiException as error:
        return error.status, error.reason
    raise AssertionError("what is not there was read")


def test_objects(api: client.ApiClient) -> None:
    core, apps = client.CoreV1Api(api), client.AppsV1Api(api)
    core.create_namespaced_config_map("default", {"metadata": {"name": "a", "labels": {"x": "1"}}, "data": {"k": "v"}})
    listed = core.list_namespaced_config_map("default", label_selector="x=1", limit=1)
    assert [m.metadata.name for m in listed.items] == ["a"]
    patched = core.patch_namespaced_config_map("a", "default", {"data": {"k": "w"}})
    assert patched.data == {"k": "w"}
    assert refusal(core) == (404, "Not Found")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"a": "b"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="x")]),
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels={"a": "b"}), template=template)
    made = apps.create_namespaced_deployment(
        "default", client.V1Deployment(metadata=client.V1ObjectMeta(name="d"), spec=spec)
    )
    assert (made.spec.replicas, made.spec.strategy.type) == (1, "RollingUpdate")
    apps.patch_namespaced_deployment_scale("d", "default", {"spec": {"replicas": 4}})
    assert apps.read_namespaced_deployment("d", "default").spec.replicas == 4
    core.delete_namespaced_config_map("a", "default")
    assert core.list_namespaced_config_map("default").items == []


def test_watch(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map("default", {"metadata": {"name": "a"}})
    seen: list[tuple[str, str]] = []
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, "default", timeout_seconds=60):
        found: Any = event
        seen.append((found["type"], found["object"].metadata.name))
        if len(seen) == 1:
            core.delete_namespaced_config_map("a", "default")
        if len(seen) == 2:
            watcher.stop()
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


def test_logs_and_exec(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_pod("default", POD)
    assert core.read_namespaced_pod_log("p", "default", tail_lines=1) == "hello\n"
    process = stream.stream(
        core.connect_get_namespaced_pod_exec, "p", "default", command=["both", "out", "err"],
        stderr=True, stdin=False, stdout=True, tty=False, _preload_content=False,
    )  # fmt: skip
    try:
        process.run_forever(timeout=60)
        assert (process.read_stdout(), process.read_stderr(), process.returncode) == ("out", "err", 0)
    finally:
        process.sock.shutdown()  # close() leaves the socket open once the server has said goodbye
