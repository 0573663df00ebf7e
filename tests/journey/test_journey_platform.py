"""What a user of a one-machine cluster meets: pods with all their parts, Services, logs, updates."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.real.platform_rig import Asking, Object, Platform, platform, until
from tests.real.unprivileged import unprivileged

pytestmark = pytest.mark.needs("root", "cgroups", "net", "overlay")
EXAMPLES = Path(__file__).parents[2] / "examples"
SERVER = "import http.server as h; h.ThreadingHTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
# Listens, and on SIGUSR1 no longer; its process goes on.
LISTENER = (
    "import signal, socket, time; s = socket.create_server(('', 8080));"
    " signal.signal(signal.SIGUSR1, lambda *_: s.close()); [time.sleep(1) for _ in range(1000)]"
)
TOOLS = ("sh", "cat", "ls", "sleep", "id", "touch", "stat", "grep", "getent", "rm", "mkdir", "df", "tr", "wc")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Platform]:
    with platform("10.21.0.1") as made:
        made.image("box:v1", *TOOLS, cmd="sleep 1000")
        for version in ("v1", "v2"):
            app = f"{EXAMPLES / 'demo' / 'app.py'}:/app/app.py"
            made.image(f"demo:{version}", "python3", add=app, env=f"VERSION={version}", cmd="python3 -u /app/app.py")
        yield made


def box(script: str, name: str = "c", **more: Any) -> Object:
    return {"name": name, "image": "box:v1", "command": ["sh", "-c", script], **more}


def pod(*containers: Object, **more: Any) -> Object:
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **more}


def state(seen: Object, index: int = 0) -> Object:
    statuses = seen["status"].get("containerStatuses") or [{}]
    return dict(statuses[index].get("state") or {})


def waiting(seen: Object) -> str:
    return str(state(seen).get("waiting", {}).get("reason", ""))


def ready(seen: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in seen["status"].get("conditions") or ())


def running(seen: Object) -> bool:
    return "running" in state(seen)


def ended_with(seen: Object, index: int = 0) -> int:
    return int(state(seen, index)["terminated"]["exitCode"])


def make(cluster: Platform, kind: str, name: str, **fields: Any) -> None:
    manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}, **fields}
    cluster.api.apply(manifest)


def removed(cluster: Platform, name: str, query: str = "") -> None:
    path = f"/api/v1/namespaces/default/pods/{name}"
    cluster.api.call("DELETE", path + query)
    until(lambda: cluster.api.find(path) is None, f"{name} is gone")


def events(cluster: Platform, name: str) -> set[str]:
    found = cluster.api.call("GET", f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}")
    return {event["reason"] for event in found["items"]}


def messages(cluster: Platform, name: str) -> set[str]:
    found = cluster.api.call("GET", f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}")
    return {event["message"] for event in found["items"]}


def test_the_volumes_of_a_pod(cluster: Platform) -> None:
    make(cluster, "ConfigMap", "settings", data={"color": "blue", "size": "xl"})
    make(cluster, "Secret", "keys", stringData={"password": "hunter2"})
    look = (
        "cat /config/color; echo; cat /secret/password; echo; cat /all/labels; echo; cat /all/size; echo;"
        " ls /var/run/secrets/kubernetes.io/serviceaccount; cat /one/colour; echo; stat -f -c %T /fast;"
        " echo kept > /disk/f; cat /disk/f; stat -L -c %a /secret/password; "
        " touch /config/x 2>/dev/null || echo refused;"
        " ls /var/run/secrets/kubernetes.io/serviceaccount/..data > /dev/null && echo linked; ls /part"
    )
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("config", "secret", "all", "fast", "disk")]
    mounts += [
        {"name": "config", "mountPath": "/one/colour", "subPath": "color"},
        {"name": "disk", "mountPath": "/part", "subPath": "deep/er"},
    ]
    downward = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    some = {"name": "settings", "items": [{"key": "size", "path": "size"}]}
    volumes = [
        {"name": "config", "configMap": {"name": "settings"}},
        {"name": "secret", "secret": {"secretName": "keys", "defaultMode": 0o400}},
        {"name": "all", "projected": {"sources": [{"downwardAPI": downward}, {"configMap": some}]}},
        {"name": "fast", "emptyDir": {"medium": "Memory"}},
        {"name": "disk", "emptyDir": {}},
    ]
    cluster.api.run_pod("volumes", pod(box(look, volumeMounts=mounts), volumes=volumes), labels={"tier": "front"})
    assert ended_with(cluster.api.ended("volumes")) == 0
    assert cluster.api.log("volumes").splitlines() == [
        "blue", "hunter2", 'tier="front"', "xl", "ca.crt", "namespace", "token", "blue", "tmpfs",
        "kept", "400", "refused", "linked",
    ]  # fmt: skip
    removed(cluster, "volumes")


def test_an_ordinary_user_owns_its_token_and_may_write_below_a_sub_path(cluster: Platform) -> None:
    look = (
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token > /dev/null && echo read;"
        " echo kept > /part/f && cat /part/f; stat -L -c '%a %u' /var/run/secrets/kubernetes.io/serviceaccount/token"
    )
    mounts = [{"name": "disk", "mountPath": "/part", "subPath": "deep/er"}]
    spec = pod(box(look, volumeMounts=mounts), volumes=[{"name": "disk", "emptyDir": {}}])
    cluster.api.run_pod("user", {**spec, "securityContext": {"runAsUser": 1000}})
    assert ended_with(cluster.api.ended("user")) == 0
    assert cluster.api.log("user").splitlines() == ["read", "kept", "600 1000"]
    removed(cluster, "user")


def test_init_containers_run_in_their_order_and_a_failing_one_ends_the_pod(cluster: Platform) -> None:
    share = [{"name": "s", "mountPath": "/s"}]
    volume = [{"name": "s", "emptyDir": {}}]
    first = [box(f"echo {n} >> /s/order", n, volumeMounts=share) for n in ("one", "two")]
    spec = pod(box("cat /s/order", volumeMounts=share), initContainers=first, volumes=volume)
    cluster.api.run_pod("order", spec)
    cluster.api.run_pod("no-order", pod(box("echo never"), initContainers=[box("exit 3", "bad")]))
    assert ended_with(cluster.api.ended("order")) == 0
    assert cluster.api.log("order") == "one\ntwo\n"
    failed = cluster.api.ended("no-order")
    assert failed["status"]["phase"] == "Failed"
    assert failed["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert waiting(failed) == "PodInitializing"


def test_restart_policies_exit_codes_and_crash_loops(cluster: Platform) -> None:
    api = cluster.api
    api.run_pod("never", pod(box("echo last words > /dev/termination-log; exit 7")))
    api.run_pod("fine", pod(box("exit 0"), restartPolicy="OnFailure"))
    api.run_pod("loop", pod(box("echo attempt; exit 9"), restartPolicy="Always"))
    api.run_pod("tail", pod(box("echo why; exit 1", terminationMessagePolicy="FallbackToLogsOnError")))
    never = api.ended("never")
    assert (never["status"]["phase"], ended_with(never)) == ("Failed", 7)
    assert state(never)["terminated"]["reason"] == "Error"
    assert state(never)["terminated"]["message"] == "last words\n"
    fine = api.ended("fine")
    assert (fine["status"]["phase"], state(fine)["terminated"]["reason"]) == ("Succeeded", "Completed")
    assert state(api.ended("tail"))["terminated"]["message"] == "why\n"
    loop = api.await_pod("loop", lambda p: waiting(p) == "CrashLoopBackOff", "loop backs off")
    status = loop["status"]["containerStatuses"][0]
    assert status["restartCount"] >= 1
    assert status["lastState"]["terminated"]["exitCode"] == 9
    assert loop["status"]["phase"] == "Running"
    assert not ready(loop)
    told = r"back-off (10|20|40)s restarting failed container=c pod=loop_default\("
    assert re.match(told, state(loop)["waiting"]["message"])
    assert api.log("loop", "?previous=true") == "attempt\n"
    until(lambda: {"BackOff", "Created", "Started", "Pulled", "Scheduled"} <= events(cluster, "loop"), "its events")
    removed(cluster, "loop")


@pytest.mark.parametrize(
    ("kind", "probe", "breaks"),
    [
        ("exec", {"exec": {"command": ["python3", "-c", "open('/tmp/well')"]}}, "import os; os.unlink('/tmp/well')"),
        ("http", {"httpGet": {"path": "/well", "port": 8080}}, "import os; os.unlink('/tmp/well')"),
        ("tcp", {"tcpSocket": {"port": 8080}}, "import os; os.kill(1, 10)"),
    ],
)
def test_probes_decide_readiness_and_restart(cluster: Platform, kind: str, probe: Object, breaks: str) -> None:
    """Not ready before the probe's first yes; a liveness probe that fails restarts the container."""
    code = {
        "exec": "open('/tmp/well', 'w'); import time; time.sleep(1000)",
        "http": f"open('/tmp/well', 'w'); import os; os.chdir('/tmp'); {SERVER}",
        "tcp": LISTENER,
    }[kind]
    # A timeout that is no answer of a busy host's: one wrong no would restart the container too early.
    often = {**probe, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 30}
    container = {"name": "c", "image": "demo:v1", "command": ["python3", "-c", code], "livenessProbe": often}
    container |= {"readinessProbe": often, "startupProbe": {**often, "failureThreshold": 30}}
    name = f"probe-{kind}"
    cluster.api.run_pod(name, pod(container, restartPolicy="Always"))
    cluster.api.await_pod(name, ready, "its probes say yes")
    cluster.ground("kube", "exec", name, "--", "python3", "-c", breaks)
    cluster.api.await_pod(name, lambda p: p["status"]["containerStatuses"][0]["restartCount"] == 1, "it is restarted")
    cluster.api.await_pod(name, ready, "and ready again")
    until(lambda: {"Unhealthy", "Killing"} <= events(cluster, name), "its events")
    removed(cluster, name)


def test_limits_are_the_cgroups(cluster: Platform) -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}}
    seen = cluster.api.run_pod("limits", pod(box("sleep 1000", resources=resources)))
    seen = cluster.api.await_pod("limits", running, "limits runs")
    assert seen["status"]["qosClass"] == "Burstable"
    id = seen["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    found = {path.name: path.read_text().strip() for path in _cgroup_files(id)}
    if "memory.max" in found:
        assert (found["memory.max"], found["cpu.max"]) == (str(64 << 20), "50000 100000")
    else:
        assert (found["memory.limit_in_bytes"], found["cpu.cfs_quota_us"]) == (str(64 << 20), "50000")
    removed(cluster, "limits")


def test_what_cannot_be_started_says_why(cluster: Platform) -> None:
    env = [{"name": "UP", "value": "../up"}, {"name": "ABS", "value": "/abs"}]

    def part(name: str, expression: str) -> Object:
        mounts = [{"name": "d", "mountPath": "/d", "subPathExpr": expression}]
        return box("true", name, env=env, volumeMounts=mounts)

    wrong = {"name": "image", "image": "bad image"}
    parts = (part("none", "$(NOPE)/a"), part("up", "$(UP)"), part("abs", "$(ABS)"))
    cluster.api.run_pod("wrong", pod(wrong, *parts, volumes=[{"name": "d", "emptyDir": {}}]))
    untagged = 'Failed to apply default image tag "bad image": couldn\'t parse image name "bad image"'
    expected = {
        "image": ("InvalidImageName", f"{untagged}: invalid reference format"),
        "none": ("CreateContainerConfigError", "missing value for NOPE"),
        "up": ("CreateContainerConfigError", "unable to provision SubPath `../up`: must not contain '..'"),
        "abs": ("CreateContainerConfigError", "error SubPath `/abs` must not be an absolute path"),
    }

    def told(seen: Object) -> bool:
        states = seen.get("status", {}).get("containerStatuses") or ()
        waits = {s["name"]: s["state"].get("waiting", {}) for s in states}
        return {name: (w.get("reason"), w.get("message")) for name, w in waits.items()} == expected

    cluster.api.await_pod("wrong", told, "each says why")
    removed(cluster, "wrong")


def test_a_pod_is_stopped_by_its_deadline(cluster: Platform) -> None:
    spec = pod(box("sleep 1000"), restartPolicy="Always", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    cluster.api.run_pod("late", spec)
    late = cluster.api.ended("late")
    message = "Pod was active on the node longer than the specified deadline"
    assert (late["status"]["reason"], late["status"]["message"]) == ("DeadlineExceeded", message)
    until(lambda: message in messages(cluster, "late"), "it is told")
    removed(cluster, "late")


def test_a_guaranteed_pod_runs_also_where_oom_scores_cannot_be_lowered(cluster: Platform) -> None:
    amounts = {"cpu": "100m", "memory": "64Mi"}
    cluster.api.run_pod("sure", pod(box("sleep 1000", resources={"limits": amounts})))
    seen = cluster.api.await_pod("sure", running, "sure runs")
    assert seen["status"]["qosClass"] == "Guaranteed"
    assert seen["status"]["containerStatuses"][0]["allocatedResources"] == amounts
    removed(cluster, "sure")


def _cgroup_files(id: str) -> list[Path]:
    names = "-name memory.max -o -name cpu.max -o -name memory.limit_in_bytes -o -name cpu.cfs_quota_us"
    command = f"find /sys/fs/cgroup -path '*{id}*' \\( {names} \\)"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False
    )  # others' groups come and go
    return [Path(line) for line in done.stdout.splitlines()]


def test_a_security_context_binds(cluster: Platform) -> None:
    script = (
        "id -u; id -g; touch /x 2>/dev/null || echo read-only; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status;"
        " touch /tmp/x && echo writable"
    )
    bound = {
        "runAsUser": 1000, "runAsGroup": 2000, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    volume = {"name": "tmp", "emptyDir": {}}
    container = box(script, securityContext=bound, volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}])
    cluster.api.run_pod("bound", pod(container, volumes=[volume], securityContext={"fsGroup": 3000}))
    cluster.api.run_pod("root", pod(box("echo no"), securityContext={"runAsNonRoot": True}))
    assert ended_with(cluster.api.ended("bound")) == 0
    lines = cluster.api.log("bound").split()
    nothing = "0000000000000000"
    assert lines == [
        "1000",
        "2000",
        "read-only",
        "CapEff:",
        nothing,
        "CapBnd:",
        nothing,
        "NoNewPrivs:",
        "1",
        "writable",
    ]
    refused = cluster.api.await_pod("root", lambda p: waiting(p) == "CreateContainerConfigError", "root is refused")
    whose = f'(pod: "root_default({refused["metadata"]["uid"]})", container: c)'
    message = f"container has runAsNonRoot and image will run as root {whose}"
    assert state(refused)["waiting"]["message"] == message
    removed(cluster, "root")


def test_containers_that_share_processes_find_nothing_of_the_host(cluster: Platform) -> None:
    """Who may trace every process of the pod sees the other container, and a first process that leads nowhere."""
    script = (
        "until grep -qs . /proc/[0-9]*/root/other/mark; do sleep 0.1; done;"
        " cat /proc/1/cmdline | tr '\\0' ' '; echo; ls -A /proc/1/root/ /proc/1/cwd/; ls /proc/1/fd | wc -l;"
        " cat /proc/1/environ | wc -c; grep -E 'Uid|CapPrm' /proc/1/status"
    )
    debugger = box(script, securityContext={"capabilities": {"add": ["SYS_PTRACE"]}})
    mark = [{"name": "other", "mountPath": "/other"}]
    other = box("echo here > /other/mark; sleep 1000", "other", volumeMounts=mark)
    volumes = [{"name": "other", "emptyDir": {}}]
    cluster.api.run_pod("sharing", pod(debugger, other, shareProcessNamespace=True, volumes=volumes))
    seen = cluster.api.await_pod("sharing", lambda p: "terminated" in state(p), "the debugger has seen all")
    assert ended_with(seen) == 0
    lines = cluster.api.log("sharing", "?container=c").splitlines()
    assert [line for line in lines if line] == [
        "/pause ",
        "/proc/1/cwd/:", "/proc/1/root/:", "0", "0",
        "Uid:\t65535\t65535\t65535\t65535", "CapPrm:\t0000000000000000",
    ]  # fmt: skip
    removed(cluster, "sharing")


def test_a_pod_in_the_hosts_network(cluster: Platform) -> None:
    cluster.api.run_pod("host", pod(box("ls /sys/class/net; cat /proc/net/route"), hostNetwork=True))
    seen = cluster.api.ended("host")
    assert seen["status"]["podIP"] == seen["status"]["hostIP"] == cluster.address
    assert "uplink" in cluster.api.log("host")


def test_what_is_missing_is_said_and_waited_for(cluster: Platform) -> None:
    api = cluster.api
    api.run_pod("no-image", pod({"name": "c", "image": "nobody/has:this"}))
    env = [{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "color"}}}]
    api.run_pod("no-map", pod(box("echo $COLOR", env=env)))
    volume = [{"name": "v", "configMap": {"name": "later-too"}}]
    api.run_pod("no-volume", pod(box("cat /v/color", volumeMounts=[{"name": "v", "mountPath": "/v"}]), volumes=volume))
    seen = api.await_pod("no-map", lambda p: waiting(p) == "CreateContainerConfigError", "no-map waits")
    assert state(seen)["waiting"]["message"] == 'configmap "later" not found'
    seen = api.await_pod("no-volume", lambda p: waiting(p) == "ContainerCreating", "no-volume waits")
    until(lambda: "FailedMount" in events(cluster, "no-volume"), "FailedMount is told")
    told = 'MountVolume.SetUp failed for volume "v" : configmap "later-too" not found'
    assert told in messages(cluster, "no-volume")
    for name in ("later", "later-too"):
        make(cluster, "ConfigMap", name, data={"color": "green"})
    for name in ("no-map", "no-volume"):
        assert api.ended(name)["status"]["phase"] == "Succeeded"
        assert api.log(name).strip() == "green"
    api.await_pod("no-image", lambda p: waiting(p) == "ImagePullBackOff", "no-image backs off")
    until(lambda: "Failed" in events(cluster, "no-image"), "Failed is told")
    code, text = api.raw("GET", "/api/v1/namespaces/default/pods/no-image/log")
    assert code == 400
    assert json.loads(text)["message"] == (
        'container "c" in pod "no-image" is waiting to start: trying and failing to pull image'
    )
    removed(cluster, "no-image")


def test_deletion_is_graceful_or_by_force(cluster: Platform) -> None:
    api = cluster.api
    polite = "trap 'echo bye > /out/said; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    place = cluster.directory / "said"
    place.mkdir()
    volume = [{"name": "out", "hostPath": {"path": str(place), "type": "Directory"}}]
    container = box(polite, volumeMounts=[{"name": "out", "mountPath": "/out"}])
    api.run_pod("polite", pod(container, volumes=volume, terminationGracePeriodSeconds=20))
    api.run_pod("deaf", pod(box("trap '' TERM; echo up; while true; do sleep 0.05; done")))
    api.run_pod("forced", pod(box("trap '' TERM; echo up; while true; do sleep 0.05; done")))
    for name in ("polite", "deaf", "forced"):
        api.await_pod(name, running, f"{name} runs")
        until(lambda name=name: api.log(name) == "up\n", f"{name} is up")
    id = api.pod("forced")["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    removed(cluster, "polite")
    assert (place / "said").read_text() == "bye\n"
    removed(cluster, "deaf")  # after its grace of a second
    removed(cluster, "forced", "?gracePeriodSeconds=0")
    until(lambda: id not in cluster.ground("ps", "-a", "--no-trunc"), "the container is gone too")
    until(lambda: not _cgroup_files(id), "and its cgroups")


def test_a_name_is_found_by_the_clusters_dns(cluster: Platform) -> None:
    make(cluster, "Service", "named", spec={"clusterIP": "10.96.7.7", "ports": [{"port": 80}]})
    script = "import socket; print(*[socket.gethostbyname(n) for n in ('named', 'named.default.svc.cluster.local')])"
    look = {"name": "c", "image": "demo:v1", "command": ["python3", "-c", script]}
    cluster.api.run_pod("asks", pod(look))
    assert ended_with(cluster.api.ended("asks")) == 0, cluster.api.log("asks")
    assert cluster.api.log("asks") == "10.96.7.7 10.96.7.7\n"


def test_logs_as_they_are_asked_for(cluster: Platform) -> None:
    cluster.api.run_pod("talks", pod(box("for i in 1 2 3; do echo line $i; done; echo oops >&2")))
    cluster.api.ended("talks")
    assert cluster.api.log("talks", "?tailLines=2") == "line 3\noops\n"
    assert cluster.api.log("talks", "?limitBytes=6") == "line 1"
    assert cluster.api.log("talks", "?follow=true").splitlines() == ["line 1", "line 2", "line 3", "oops"]
    stamped = cluster.api.log("talks", "?timestamps=true&tailLines=1")
    assert stamped.endswith("Z oops\n")


def test_an_application_from_manifest_to_update(cluster: Platform, tmp_path: Path) -> None:
    """The demo's manifests: applied, answering inside and at a node port, updated and scaled without a lost request."""
    api = cluster.api
    text = (EXAMPLES / "demo" / "demo.yaml").read_text().replace("COUNTER_DIRECTORY", str(tmp_path))
    manifest = tmp_path / "demo.yaml"
    manifest.write_text(text)
    cluster.ground("kube", "apply", "-f", str(manifest))
    deployment = "/apis/apps/v1/namespaces/demo/deployments/web"

    def rolled(replicas: int) -> bool:
        found = api.call("GET", deployment)
        status = found.get("status") or {}
        counts = [status.get(f"{what}eplicas", 0) for what in ("r", "updatedR", "readyR", "availableR")]
        return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [replicas] * 4

    until(lambda: rolled(3), "three replicas")
    patch = "application/merge-patch+json"
    service = api.call("PATCH", "/api/v1/namespaces/demo/services/web", {"spec": {"type": "NodePort"}}, patch)
    port = service["spec"]["ports"][0]["nodePort"]
    clients = [
        Asking(cluster.host, service["spec"]["clusterIP"], 80, "/"),
        Asking(cluster.host, cluster.address, port, "/"),
    ]
    until(lambda: "version v1" in _page(cluster, cluster.address, port), "the node port answers")
    for client in clients:
        client.start()
    template = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "demo:v2"}]}}}}
    api.call("PATCH", deployment, template, "application/strategic-merge-patch+json")
    until(lambda: rolled(3), "the second version")
    api.call("PATCH", f"{deployment}/scale", {"spec": {"replicas": 5}}, patch)
    until(lambda: rolled(5), "five replicas")
    api.call("PATCH", f"{deployment}/scale", {"spec": {"replicas": 2}}, patch)
    until(lambda: rolled(2), "two replicas")
    for client in clients:
        assert client.end() > 20
        versions = {answer.partition("version ")[2].partition(",")[0] for answer in client.answers}
        assert versions == {"v1", "v2"}
    assert "version v2" in _page(cluster, service["spec"]["clusterIP"], 80)
    api.call("DELETE", "/api/v1/namespaces/demo")
    until(lambda: api.find("/api/v1/namespaces/demo") is None, "the namespace is gone")


def _page(cluster: Platform, address: str, port: int) -> str:
    client = Asking(cluster.host, address, port, "/")
    client.start()
    until(lambda: client.answers or client.failures, "an answer")
    client._over.set()
    client.join()
    return next(iter(client.answers), "")


@pytest.mark.needs("kubectl")
def test_kubectl_follows_previous_and_executes(cluster: Platform) -> None:
    again = "test -e /s/seen && echo second && sleep 1000; touch /s/seen; echo first; exit 1"
    share = {"volumeMounts": [{"name": "s", "mountPath": "/s"}]}
    container = {"name": "c", "image": "box:v1", "command": ["sh", "-c", again], **share}
    spec = {**pod(container, restartPolicy="Always"), "volumes": [{"name": "s", "emptyDir": {}}]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "twice"}, "spec": spec}
    assert cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest)) == "pod/twice created\n"
    cluster.kubectl("wait", "--for=condition=Ready", "pod/twice", "--timeout=90s")
    until(lambda: cluster.kubectl("logs", "twice") == "second\n", "the second attempt's log")
    assert cluster.kubectl("logs", "twice", "-p") == "first\n"
    assert cluster.kubectl("exec", "twice", "--", "sh", "-c", "echo $0 in; cat /etc/hostname", "run").split() == [
        "run", "in", "twice"
    ]  # fmt: skip
    assert cluster.kubectl("exec", "-i", "twice", "--", "cat", input="through\n") == "through\n"
    assert cluster.run("kubectl", "exec", "twice", "--", "sh", "-c", "exit 5").returncode == 5
    cluster.kubectl("delete", "pod", "twice", "--now")
    talk = "for i in 1 2 3; do echo $i; sleep 0.2; done"
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "slow"}, "spec": pod(box(talk))}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
    cluster.api.await_pod("slow", lambda p: running(p) or p["status"]["phase"] == "Succeeded", "slow runs")
    assert cluster.kubectl("logs", "-f", "slow") == "1\n2\n3\n"


def test_the_python_client(cluster: Platform, tmp_path: Path) -> None:
    """The kubernetes package: create, watch until ready, read the log, delete."""
    script = f"""
import tempfile
tempfile.tempdir = {str(tmp_path)!r}  # it leaves copies of certificates
import kubernetes.client, kubernetes.config, kubernetes.watch
kubernetes.config.load_kube_config({cluster.kubeconfig!r})
core = kubernetes.client.CoreV1Api()
body = {{"metadata": {{"name": "snake"}}, "spec": {pod(box("echo hiss; sleep 1000"))!r}}}
core.create_namespaced_pod("default", body)
watch = kubernetes.watch.Watch()
mine = {{"field_selector": "metadata.name=snake", "timeout_seconds": 30}}
for event in watch.stream(core.list_namespaced_pod, "default", **mine):
    if any(c.type == "Ready" and c.status == "True" for c in event["object"].status.conditions or ()):
        watch.stop()
while not (log := core.read_namespaced_pod_log("snake", "default")):
    pass
core.delete_namespaced_pod("snake", "default", grace_period_seconds=0)
print(log)
"""
    assert cluster.ok(sys.executable, "-W", "ignore", "-c", script).strip() == "hiss"


def test_wrong_requests_get_upstreams_words(cluster: Platform) -> None:
    api = cluster.api
    pods = "/api/v1/namespaces/default/pods"

    def refused(body: bytes, path: str = pods, **more: Any) -> tuple[int, str, str]:
        code, text = api.raw("POST", path, body, **more)
        status = json.loads(text)
        return code, status["reason"], status["message"]

    code, reason, message = refused(b"{not json")
    assert (code, reason) == (400, "BadRequest")
    code, reason, message = refused(
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[]}}'
    )
    assert (code, reason, message) == (422, "Invalid", 'Pod "x" is invalid: spec.containers: Required value')
    code, reason, message = refused(
        b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"X_"},"spec":{"containers":[]}}'
    )
    assert code == 422
    assert "a lowercase RFC 1123 subdomain must consist of" in message
    large = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"' + b"x" * (4 << 20) + b'"}}'
    code, reason, message = refused(large, "/api/v1/namespaces/default/configmaps")
    assert (code, reason) == (413, "RequestEntityTooLarge")
    code, reason, message = refused(b"{}", token="nonsense")
    assert (code, reason, message) == (401, "Unauthorized", "Unauthorized")
    token = base64.b64encode(b"{}").decode()
    assert refused(b"{}", token=f"{token}.{token}.{token}")[:2] == (401, "Unauthorized")
    service = {"ports": [{"port": 80, "nodePort": 31999}], "type": "NodePort"}
    for name in ("port-a", "port-b"):
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service}
        code, text = api.raw("POST", "/api/v1/namespaces/default/services", json.dumps(body).encode())
    assert code == 422
    assert json.loads(text)["message"] == (
        'Service "port-b" is invalid: spec.ports[0].nodePort: Invalid value: 31999: provided port is already allocated'
    )


def test_a_second_start_a_second_instance_and_no_root(cluster: Platform, tmp_path: Path) -> None:
    """Starting what runs changes nothing; another instance at the same ports, or without root, gets one sentence."""
    before = cluster.daemon_pid()
    assert "already" in cluster.ground("up") or cluster.daemon_pid() == before
    ground = (sys.executable, "-m", "groundplane.cli.main")
    other = {**cluster.environ, "GROUND_ROOT": str(tmp_path / "r"), "GROUND_RUN": str(tmp_path / "u")}
    try:
        done = cluster.run(*ground, "up", env=other)
        assert done.returncode != 0
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "6443" in done.stderr
    finally:
        gone = cluster.run(*ground, "down", "--purge", env=other)
    assert gone.returncode == 0, gone.stderr
    done = cluster.run(*unprivileged(*ground, "up"), env=other)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "root" in done.stderr
    assert cluster.daemon_pid() == before


def test_down_and_up_again_is_the_same_cluster(cluster: Platform) -> None:
    """The last test of this file: the state outlives `ground down`, and pods run again."""
    api = cluster.api
    api.run_pod("stays", pod(box("echo up; sleep 1000"), restartPolicy="Always"))
    api.run_pod("once", pod(box("echo did it; exit 3"), restartPolicy="Never"))
    before = api.await_pod("stays", ready, "stays is ready")
    api.await_pod("once", lambda p: p["status"]["phase"] == "Failed", "once has ended")
    cluster.ground("down")
    assert "stays" not in cluster.ground("ps", "--all")  # this starts the engine, and nothing of the cluster
    assert "Roles:          engine\n" in cluster.ground("status")
    wrong = cluster.run(sys.executable, "-m", "groundplane.cli.main", "up", "--api-port", "99999")
    assert "api_port: a port from 1 to 65535 expected, 99999 found" in wrong.stderr
    cluster.ground("down")
    cluster.ground("up")  # as before: what did not work is not remembered

    def again(pod: Object) -> bool:  # until the node has looked, its status is the one from before
        return ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] > 0

    after = api.await_pod("stays", again, "stays is ready again")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    [status] = after["status"]["containerStatuses"]
    assert (status["restartCount"], status["lastState"]["terminated"]["exitCode"]) == (1, 137)
    until(lambda: api.log("stays") == "up\n", "its log")
    assert api.log("once") == "did it\n"
    assert api.pod("once")["status"]["containerStatuses"][0]["restartCount"] == 0
    removed(cluster, "once")
    removed(cluster, "stays")
