"""Who may use a kubelet's API, asked of a real API server as a node asks it."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.clock import VirtualClock
from tests.fakes.ports import free_port

from groundplane.apiserver import server as apiserver
from groundplane.base.settings import Settings
from groundplane.client.contract import Object
from groundplane.client.resources import CLUSTER_ROLES, Resource
from groundplane.daemon import identities
from groundplane.node.access import Access, User, subresources
from groundplane.store.registry import open_store

BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


def role(*resources: str) -> Object:
    rule = {"apiGroups": [""], "resources": list(resources), "verbs": ["get"]}
    return {"apiVersion": CLUSTER_ROLES.api_version, "kind": "ClusterRole", "metadata": {"name": "r"}, "rules": [rule]}


BINDING: Object = {
    "apiVersion": BINDINGS.api_version,
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "r"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
    "subjects": [{"kind": "ServiceAccount", "name": "watcher", "namespace": "default"}],
}


def test_subresources_of_paths() -> None:
    assert subresources("/pods") == ("pods", "proxy")
    assert subresources("/metrics/cadvisor") == ("metrics",)
    assert subresources("/exec/a/b/c") == ("proxy",)
    assert subresources("/containerLogs/a/b/c") == ("proxy",)
    assert subresources("/") == ("proxy",)


def test_certificates_tokens_and_roles(run, state_root: Path) -> None:
    async def work() -> None:
        settings = Settings(
            root=str(state_root), run=str(state_root / "run"), api_port=free_port(), node_ip="127.0.0.1"
        )
        store = await open_store("memory:")
        server = await apiserver.start(settings, store, host="127.0.0.1")
        try:
            clients = identities.local(server)
            admin, clock = clients(identities.ADMIN, "test"), VirtualClock()
            access = Access(clients(identities.node("n1"), "kubelet"), "n1", clock)
            assert await access.may(ADMIN, "GET", "/exec/a/b/c")
            assert not await access.may(User("nobody", groups=("system:authenticated",)), "GET", "/pods")

            assert await access.user_of("nonsense") is None
            account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "watcher"}}
            await admin.service_accounts.create(account, "default")
            wish = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
            made = await admin.service_accounts.create(wish, "default", name="watcher", subresource="token")
            watcher = await access.user_of(made["status"]["token"])
            assert watcher is not None
            assert watcher.name == "system:serviceaccount:default:watcher"
            assert "system:authenticated" in watcher.groups
            assert not await access.may(watcher, "GET", "/pods")

            await admin.of(CLUSTER_ROLES).create(role("nodes/pods", "nodes/metrics"))
            await admin.of(BINDINGS).create(BINDING)
            assert not await access.may(watcher, "GET", "/pods")  # the refusal is remembered for a while
            await clock.advance(31)
            assert await access.may(watcher, "GET", "/pods")
            assert await access.may(watcher, "GET", "/metrics")
            assert not await access.may(watcher, "POST", "/metrics")
            assert not await access.may(watcher, "GET", "/exec/a/b/c")
        finally:
            await server.stop()
            await store.close()

    run(work())
