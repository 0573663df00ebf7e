"""The demo application's cluster on SQLite: killed, resumed, backed up while it runs, destroyed, restored, resumed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.net_host import NetHost
from tests.real.platform_rig import Object, Platform, platform, until

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
DEMO = Path(__file__).parents[2] / "examples" / "demo"
PODS = "/api/v1/namespaces/demo/pods"
MAP = "/api/v1/namespaces/demo/configmaps/web"


@pytest.fixture
def cluster() -> Iterator[Platform]:
    with tempfile.TemporaryDirectory(prefix="ground-test-") as counter, platform("10.26.0.1") as made:
        made.image("demo:v1", "python3", add=f"{DEMO / 'app.py'}:/app/app.py", env="VERSION=v1",
                   cmd="python3 -u /app/app.py")  # fmt: skip
        manifests = made.directory / "demo.yaml"
        manifests.write_text((DEMO / "demo.yaml").read_text().replace("COUNTER_DIRECTORY", counter))
        made.ground("kube", "apply", "-f", str(manifests))
        made.ground("kube", "rollout", "status", "deployment/web", "-n", "demo", "--timeout=60s")
        yield made


def pods(made: Platform) -> dict[str, str]:
    """The container of each pod that is ready, by the pod's name."""
    found = {}
    for pod in made.api.call("GET", PODS)["items"]:
        [status] = pod["status"].get("containerStatuses") or [{}]
        if status.get("ready") and "deletionTimestamp" not in pod["metadata"]:
            found[pod["metadata"]["name"]] = status["containerID"]
    return found


def answers(made: Platform, host: NetHost) -> None:
    address = made.api.call("GET", "/api/v1/namespaces/demo/services/web")["spec"]["clusterIP"]
    ask = f"import urllib.request as u; print(u.urlopen('http://{address}/', timeout=2).read().decode())"
    until(lambda: "version v1" in made.run("python3", "-c", ask).stdout, "the Service answers")


def greet(made: Platform, greeting: str) -> Object:
    return made.api.call("PATCH", MAP, {"data": {"greeting": greeting}}, "application/merge-patch+json")


def refused(made: Platform, *words: str) -> str:
    """What a command says that must fail, in a sentence."""
    done = made.run(sys.executable, "-m", "groundplane.cli.main", *words)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def test_killed_resumed_backed_up_destroyed_restored_resumed(cluster: Platform) -> None:
    backup, path = str(cluster.directory / "backup"), cluster.root / "store" / "cluster.db"
    containers = until(lambda: p if len(p := pods(cluster)) == 3 else {}, "three pods are ready")

    os.kill(cluster.daemon_pid(), signal.SIGKILL)
    until(lambda: _alive(cluster), "the API answers again")
    assert pods(cluster) == containers, "no container was touched by the kill"
    answers(cluster, cluster.host)

    kept = greet(cluster, "before the backup")
    assert "Backup of revision" in cluster.ground("store", "backup", backup)
    assert pods_in(backup) >= set(containers)
    assert json.loads(cluster.ground("store", "status", "--format", "json"))["driver"] == "sqlite"
    assert cluster.ground("store", "check") == "The store is sound.\n"
    cluster.ground("store", "compact")
    lost = greet(cluster, "after the backup")
    cluster.ground("kube", "scale", "deployment/web", "--replicas=1", "-n", "demo")
    until(lambda: len(pods(cluster)) == 1, "one pod is left")
    newest = json.loads(cluster.ground("store", "status", "--format", "json"))["revision"]
    assert newest > version(lost) > version(kept)

    assert "run `ground down` first" in refused(cluster, "store", "restore", backup)
    cluster.ground("down")
    path.write_bytes(os.urandom(100_000))  # destroyed
    assert "file is not a database" in refused(cluster, "up")
    assert "file is not a database" in cluster.ground("status"), "the engine runs and says what is missing"
    refused(cluster, "store", "check")
    assert "--replace" in refused(cluster, "store", "restore", backup)
    assert "kept" in cluster.ground("store", "restore", "--replace", backup)

    cluster.ground("up")
    back = until(lambda: p if len(p := pods(cluster)) == 3 else {}, "the three pods of the backup are back")
    assert set(back) == set(containers)
    answers(cluster, cluster.host)
    found = cluster.api.call("GET", MAP)
    assert found["data"]["greeting"] == "before the backup" and version(found) == version(kept)
    assert version(greet(cluster, "after the restore")) > newest + 1000, "no revision is given twice"
    code, text = cluster.api.raw("GET", f"/api/v1/namespaces/demo/configmaps?watch=1&resourceVersion={newest}")
    assert json.loads(text.splitlines()[0])["object"]["code"] == 410 if code == 200 else code == 410
    stale = {**lost, "data": {"greeting": "from before"}}
    code, _ = cluster.api.raw("PUT", MAP, json.dumps(stale).encode())
    assert code == 409, "who saw a later object must read again"
    [(mode, aside)] = [(p.stat().st_mode & 0o777, p) for p in path.parent.glob("cluster.db.replaced-*")]
    assert mode == 0o600 or aside.stat().st_size == 100_000


def pods_in(backup: str) -> set[str]:
    """A backup is a file that any tool can read, if it may."""
    assert os.stat(backup).st_mode & 0o777 == 0o600
    db = sqlite3.connect(backup)
    try:
        rows = db.execute("SELECT DISTINCT key FROM log WHERE key LIKE '/registry/pods/demo/%'").fetchall()
    finally:
        db.close()
    return {key.rpartition("/")[2] for [key] in rows}


def _alive(made: Platform) -> bool:
    try:
        return len(pods(made)) == 3
    except (OSError, http.client.HTTPException, AssertionError):
        return False  # the API is not there, or not ready, yet
