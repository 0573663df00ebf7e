"""The real kubectl against the API server alone: what people type, in the order in which they do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.foreign.api_server import Running, running

pytestmark = pytest.mark.needs("kubectl")

APP = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: green}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""

Kubectl = Callable[..., str]


@pytest.fixture
def server(state_root: Path) -> Iterator[Running]:
    with running(state_root) as found:
        yield found


def kubectl_of(server: Running, program: str = "kubectl") -> Kubectl:
    def call(*args: str, stdin: str = "", **env: str) -> str:
        return server.run(program, *args, stdin=stdin, **env).stdout

    return call


def other(version: str) -> str:
    """kubectl of another version, beside the one on PATH."""
    beside = Path(str(shutil.which("kubectl"))).resolve().parent / f"kubectl.{version}"
    if not beside.exists():
        pytest.skip(f"kubectl {version} is not installed beside kubectl")
    return str(beside)


def test_apply_get_and_delete(server: Running) -> None:
    kubectl = kubectl_of(server)
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=APP)
    assert kubectl("apply", "-f", "-", stdin=APP).count("unchanged") == 3
    table = kubectl("get", "deployment,service,configmap", "-o", "wide")
    assert "0/3" in table and "web:1" in table and "80/TCP" in table
    assert json.loads(kubectl("get", "deploy", "web", "-o", "json"))["spec"]["replicas"] == 3
    assert "replicas: 3" in kubectl("get", "deploy", "web", "-o", "yaml")
    assert kubectl("get", "cm", "settings", "-o", "jsonpath={.data.colour}") == "green"
    assert kubectl("get", "svc", "-o", "name").split() == ["service/kubernetes", "service/web"]
    assert kubectl("get", "cm", "-l", "no=such", "-o", "name") == ""
    assert "web" in kubectl("get", "deploy", "-o", "custom-columns=NAME:.metadata.name")
    assert kubectl("delete", "-f", "-", stdin=APP).count("deleted") == 3
    missing = server.run("kubectl", "get", "deploy", "web", ok=False)
    assert 'Error from server (NotFound): deployments.apps "web" not found' in missing.stderr


def test_changes_by_every_way(server: Running) -> None:
    kubectl = kubectl_of(server)
    kubectl("apply", "-f", "-", stdin=APP)

    def replicas() -> str:
        return kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")

    kubectl("scale", "deploy/web", "--replicas=5")
    assert replicas() == "5"
    kubectl("patch", "deploy", "web", "-p", '{"spec":{"replicas":6}}')
    kubectl("patch", "deploy", "web", "--type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":6}]')
    kubectl("patch", "deploy", "web", "--type=merge", "-p", '{"spec":{"replicas":7}}')
    assert replicas() == "7"
    kubectl("edit", "deploy", "web", KUBE_EDITOR="sed -i s/replicas:.7/replicas:\\ 8/")
    assert replicas() == "8"
    kubectl("label", "deploy", "web", "tier=front")
    kubectl("annotate", "deploy", "web", "note=x")
    assert kubectl("get", "deploy", "-l", "tier=front", "-o", "name") == "deployment.apps/web\n"
    kubectl("set", "image", "deploy/web", "web=web:2")
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={..image}") == "web:2"
    kubectl("wait", "--for=jsonpath={.spec.replicas}=8", "deploy/web", "--timeout=60s")
    diff = server.run("kubectl", "diff", "-f", "-", stdin=APP, ok=False)
    assert diff.returncode == 1 and "-  replicas: 8" in diff.stdout and "+  replicas: 3" in diff.stdout


def test_server_side_apply_and_its_conflict(server: Running) -> None:
    kubectl = kubectl_of(server)
    kubectl("apply", "--server-side", "-f", "-", stdin=APP)
    kubectl("scale", "deploy/web", "--replicas=9")
    refused = server.run("kubectl", "apply", "--server-side", "-f", "-", stdin=APP, ok=False)
    assert "conflict with" in refused.stderr and ".spec.replicas" in refused.stderr
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=APP)
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "3"


def test_creates_that_send_protobuf(server: Running) -> None:
    kubectl = kubectl_of(server)
    kubectl("create", "deployment", "d", "--image=x")
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "serviceaccount", "default")
    kubectl("run", "p", "--image=x", "--env=A=B")
    kubectl("expose", "deploy/d", "--port=80")
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.spec.containers[0].env[0].value}") == "B"
    assert kubectl("create", "token", "default").count(".") == 2
    assert "system:masters" in kubectl("auth", "whoami")
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    denied = server.run("kubectl", "auth", "can-i", "create", "pods", "--as=jane", ok=False)
    assert denied.stdout == "no\n"


def test_what_is_served(server: Running) -> None:
    kubectl = kubectl_of(server)
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "leases.coordination.k8s.io"} <= set(names)
    assert "apps/v1" in kubectl("api-versions").split()
    assert "Server Version: v1.36" in kubectl("version")
    assert "FIELD: strategy" in kubectl("explain", "deployment.spec.strategy")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]store ok" in kubectl("get", "--raw", "/readyz?verbose")


def test_refusals_read_as_upstream(server: Running) -> None:
    kubectl = kubectl_of(server)
    unknown = APP.replace("replicas: 3", "replicaz: 3")
    refused = server.run("kubectl", "apply", "-f", "-", stdin=unknown, ok=False)
    assert 'unknown field "spec.replicaz"' in refused.stderr
    kubectl("create", "namespace", "going")
    kubectl("delete", "namespace", "going", "--wait=false")
    late = server.run("kubectl", "-n", "going", "create", "configmap", "x", ok=False)
    assert "because it is being terminated" in late.stderr
    dry = kubectl("create", "configmap", "dry", "--dry-run=server", "-o", "name")
    assert dry == "configmap/dry\n"
    assert server.run("kubectl", "get", "cm", "dry", ok=False).returncode == 1


@pytest.mark.parametrize("version", ["1.27", "1.33"])
def test_other_versions(server: Running, version: str) -> None:
    kubectl = kubectl_of(server, other(version))
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=APP)
    assert kubectl("apply", "-f", "-", stdin=APP).count("unchanged") == 3
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=APP)
    kubectl("scale", "deploy/web", "--replicas=2")
    assert "0/2" in kubectl("get", "deploy")
    assert kubectl("auth", "can-i", "delete", "pods") == "yes\n"
    kubectl("delete", "deploy", "web")
