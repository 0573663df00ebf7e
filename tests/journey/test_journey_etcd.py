"""The demo application's cluster on a real etcd: started, both killed -9 at once, resumed with nothing lost."""

from __future__ import annotations

import http.client
import os
import signal
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from tests.fakes import etcd
from tests.real.platform_rig import Asking, Object, Platform, platform, until

DEMO = Path(__file__).parents[2] / "examples" / "demo"
PODS = "/api/v1/namespaces/demo/pods"
WEB = "/apis/apps/v1/namespaces/demo/deployments/web"


def ready_pods(made: Platform) -> list[Object]:
    found = made.api.call("GET", PODS)["items"]
    return [
        p
        for p in found
        if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", ()))
    ]


def containers(made: Platform) -> dict[str, tuple[str, int]]:
    """Each pod's container and how often it was started again."""
    statuses = {p["metadata"]["name"]: p["status"]["containerStatuses"][0] for p in ready_pods(made)}
    return {name: (s["containerID"], s["restartCount"]) for name, s in statuses.items()}


def recovered(made: Platform, replicas: int) -> bool:
    try:
        return len(ready_pods(made)) == replicas
    except (OSError, http.client.HTTPException, AssertionError):
        return False  # the API is not there, or not ready, yet


@pytest.mark.needs("root", "cgroups", "net", "overlay", "etcd")
def test_the_demo_cluster_lives_on_etcd_and_survives_it(state_root: Path) -> None:
    servers: list[etcd.Cluster] = []

    def prepare(made: Platform) -> None:
        server = etcd.Cluster([etcd.Member(state_root, "m0", "127.0.0.1", (), made.host.run)])
        servers.append(server)
        server.start()
        made.environ["GROUND_STORE"] = server.url("/one")

    try:
        with platform("10.26.0.1", prepare) as made:
            [server] = servers
            [member] = server.members
            app = f"{DEMO / 'app.py'}:/app/app.py"
            made.image("demo:v1", "python3", add=app, env="VERSION=v1", cmd="python3 -u /app/app.py")
            counter = made.directory / "counter"
            counter.mkdir()
            manifest = (DEMO / "demo.yaml").read_text().replace("COUNTER_DIRECTORY", str(counter))
            (made.directory / "demo.yaml").write_text(manifest)
            made.ground("kube", "apply", "-f", str(made.directory / "demo.yaml"))
            until(lambda: recovered(made, 3), "three pods are ready")
            before = containers(made)
            service = made.api.call("GET", "/api/v1/namespaces/demo/services/web")["spec"]["clusterIP"]
            assert not (made.root / "store" / "cluster.db").exists()
            # Upstream's keys: another server could go on from here.
            key = b64encode(b"/one/registry/deployments/demo/web").decode()
            [kept] = made.host.run(lambda: member.call("/v3/kv/range", key=key))["kvs"]
            assert b'"kind":"Deployment"' in b64decode(kept["value"])

            asking = Asking(made.host, service, 80)
            asking.start()
            os.kill(made.daemon_pid(), signal.SIGKILL)
            member.kill()
            until(lambda: len(asking.failures) + sum(asking.answers.values()) > 50, "the Service is asked meanwhile")
            made.host.run(lambda: server.restart(member))
            until(lambda: recovered(made, 3), "the cluster goes on", 60)
            assert containers(made) == before, "no container was started again"
            scale = {"spec": {"replicas": 4}}
            made.api.call("PATCH", WEB, scale, "application/merge-patch+json")
            until(lambda: recovered(made, 4), "controllers and scheduler work again", 60)
            assert asking.end() > 50
            status = made.ground("store", "status")
            assert "etcd" in status, status
    finally:
        for server in servers:
            server.close()
