"""Kills at random moments while a cluster works: groundd, the spawner and supervisors die with -9, and nothing is lost.

An application answers a client, a pod counts aloud, a writer writes objects: none of them may notice anything. Beside
them pods are made, Deployments rolled and scaled, pods deleted, and at a random moment of each such work a process is
killed; the work must come to its end all the same.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.real import leaks
from tests.real.platform_rig import Api, Asking, Object, Platform, until
from tests.real.resident_processes import is_supervisor, is_zygote

from groundplane.kernel.processes import start_ticks

EXAMPLES = Path(__file__).parents[2] / "examples"
COMM = {"spawner": "ground-spawner", "supervisor": "ground-superv"}
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"
_LOST = (OSError, http.client.HTTPException)


@dataclass
class Report:
    """What happened; `faults` must stay empty."""

    kills: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    writes: int = 0
    lines: int = 0
    recoveries: list[float] = field(default_factory=list)  # seconds until the API answered again
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = ", ".join(f"{n} of {what}" for what, n in sorted(self.kills.items()))
        slowest = max(self.recoveries, default=0.0)
        middle = sorted(self.recoveries)[len(self.recoveries) // 2] if self.recoveries else 0.0
        return (
            f"{sum(self.kills.values())} kills ({kills}); {self.requests} requests to the Service, {self.writes} "
            f"acknowledged writes, {self.lines} log lines; API back after {middle:.2f} s (median), {slowest:.2f} s "
            f"(slowest); faults: {'; '.join(self.faults) or 'none'}"
        )


class Writer(threading.Thread):
    """Writes one ConfigMap after another and remembers which were acknowledged."""

    def __init__(self, api: Api) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, str] = {}
        self.faults: list[str] = []
        self._api = api
        self._over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            number += 1
            name = f"written-{number}"
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"n": str(number)}}
            try:
                code, text = self._api.raw("POST", MAPS, json.dumps(body).encode())
            except _LOST:
                continue  # not acknowledged: it may be there or not
            if code == 201:
                self.acknowledged[name] = json.loads(text)["metadata"]["uid"]
            elif code < 500:
                self.faults.append(f"write {name}: {code} {text.decode()}")

    def end(self) -> None:
        self._over.set()
        self.join(60)


class Storm:
    """Set up once on a platform; `strike` as often as wanted; `end` judges."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self.platform, self.api = platform, platform.api
        self.report = Report()
        self._dice = random.Random(seed)
        self._number = 0
        self._live: list[str] = []  # pods that strikes made
        self._version = 1

    def begin(self) -> None:
        """The application, the counting pod, the client and the writer; `images` are there."""
        self.retry("POST", DEPLOYMENTS, deployment("web", 2))
        self.retry("POST", DEPLOYMENTS, deployment("rolled", 2))
        service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service}
        made = self.api.call("POST", "/api/v1/namespaces/default/services", body)
        self.api.run_pod("counts", box_pod(COUNT))
        for name in ("web", "rolled"):
            self._rolled(name)
        self.api.await_pod("counts", is_ready, "the counting pod is ready")
        self._calm = self._bystanders()
        self._asking = Asking(self.platform.host, made["spec"]["clusterIP"], 80)
        until(self._answers, "the Service answers")
        self._asking.start()
        self._writer = Writer(self.api)
        self._writer.start()

    def _answers(self) -> bool:
        first = Asking(self.platform.host, *self._asking._to)
        first.start()
        until(lambda: first.answers or first.failures, "an answer or a failure")
        first._over.set()
        first.join()
        return not first.failures

    def _bystanders(self) -> dict[str, tuple[str, int, int]]:
        """Of each container that nobody may disturb: its id, process and that process's start."""
        found = {}
        for pod in self.retry("GET", PODS)["items"]:
            if pod["metadata"].get("labels", {}).get("app") == "web" or pod["metadata"]["name"] == "counts":
                one = pod["status"]["containerStatuses"][0]
                id = one["containerID"].partition("://")[2]
                pid = json.loads(self.platform.ground("inspect", id))[0]["State"]["Pid"]
                found[pod["metadata"]["name"]] = (f"{id} {one['restartCount']}", pid, start_ticks(pid))
        return found

    # one strike

    def strike(self, victim: str) -> None:
        """Begin some work, kill `victim` within the next 150 ms, and see the work through."""
        work = self._dice.choice((self._make_pod, self._make_pod, self._delete_pod, self._roll, self._scale))
        delay = self._dice.random() * 0.15
        killer = threading.Timer(delay, self._kill, (victim,))
        killer.start()
        try:
            work()
        except AssertionError as error:
            self.report.faults.append(f"{victim} killed {delay * 1000:.0f} ms into {work.__name__}: {error}")
        killer.join()

    def _kill(self, victim: str) -> None:
        for pid in self._dice.sample(found, len(found)) if (found := self.pids(victim)) else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.report.kills[victim] += 1
            break
        if victim == "groundd":
            started = time.monotonic()
            self.retry("GET", "/readyz?verbose=")
            self.report.recoveries.append(time.monotonic() - started)

    def pids(self, victim: str) -> list[int]:
        lines = leaks.processes([self.platform.run_dir])
        if victim == "groundd":
            return [int(line.split(" ")[0]) for line in lines if "daemon.main" in line and "resident" not in line]
        found = [int(line.split(" ")[0]) for line in lines if line.split(" ")[1].startswith(COMM[victim])]
        # A container that is about to begin has a supervisor's name; its death would be its own.
        return [pid for pid in found if victim != "supervisor" or is_supervisor(pid) or is_zygote(pid)]

    def _make_pod(self) -> None:
        self._number += 1
        name = f"p{self._number}"
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": box_pod(f"echo {name}; sleep 1000"),
        }
        self.retry("POST", PODS, body, accept=(201, 409))
        self._live.append(name)
        self.eventually(lambda: is_ready(self.api.pod(name)), f"{name} is ready")
        self.eventually(lambda: self.api.log(name) == f"{name}\n", f"the log of {name}")
        status = self.retry("GET", f"{PODS}/{name}")["status"]["containerStatuses"][0]
        assert status["restartCount"] == 0, f"{name} was restarted: {status}"

    def _delete_pod(self) -> None:
        if not self._live:
            self._make_pod()
            return
        name = self._live.pop(self._dice.randrange(len(self._live)))
        self.retry("DELETE", f"{PODS}/{name}", accept=(200, 404))
        self.eventually(lambda: self.api.find(f"{PODS}/{name}") is None, f"{name} is gone")

    def _roll(self) -> None:
        self._version += 1
        env = [{"name": "GREETING", "value": f"greeting {self._version}"}]
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}}
        self.retry("PATCH", f"{DEPLOYMENTS}/rolled", change, kind="application/strategic-merge-patch+json")
        self._rolled("rolled")

    def _scale(self) -> None:
        change = {"spec": {"replicas": self._dice.randint(1, 4)}}
        self.retry("PATCH", f"{DEPLOYMENTS}/rolled", change, kind="application/merge-patch+json")
        self._rolled("rolled")

    def _rolled(self, name: str) -> None:
        def there() -> bool:
            found = self.api.call("GET", f"{DEPLOYMENTS}/{name}")
            status, wanted = found.get("status") or {}, found["spec"]["replicas"]
            counts = [status.get(f"{what}eplicas", 0) for what in ("r", "updatedR", "availableR")]
            return status.get("observedGeneration") == found["metadata"]["generation"] and counts == [wanted] * 3

        self.eventually(there, f"{name} is rolled out")

    # asking a server that may be dead at the moment

    def retry(
        self, method: str, path: str, body: Object | None = None, *, kind: str = "application/json",
        accept: tuple[int, ...] = (200, 201),
    ) -> Object:  # fmt: skip
        data = None if body is None else json.dumps(body).encode()
        end = time.monotonic() + 120
        while True:
            try:
                code, text = self.api.raw(method, path, data, {"Content-Type": kind})
                if code in accept:
                    return dict(json.loads(text)) if text.startswith(b"{") else {}
                if code < 500 and code not in (409, 429):
                    raise AssertionError(f"{method} {path}: {code} {text.decode()}")
            except _LOST as error:
                text = repr(error).encode()
            assert time.monotonic() < end, f"{method} {path}: {text.decode()}"
            time.sleep(0.02)  # between two tries, with a deadline

    def eventually(self, look: Callable[[], object], what: str, seconds: float = 120) -> None:
        last = ""

        def calm() -> bool:
            nonlocal last
            try:
                return bool(look())
            except (*_LOST, AssertionError) as error:  # the server is away, or not so far yet
                last = str(error)
                return False

        try:
            until(calm, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error} {last}") from None

    # judging

    def end(self) -> Report:
        report = self.report
        self._writer.end()
        self._settled()
        for name, before in self._calm.items():
            if (after := self._bystanders().get(name)) != before:
                report.faults.append(f"{name} was disturbed: {before} is now {after}")
        try:
            report.requests = self._asking.end()
        except AssertionError as error:
            report.faults.append(str(error))
        self._judge_writes()
        self._judge_log()
        return report

    def _settled(self) -> None:
        try:
            for name in ("web", "rolled"):
                self._rolled(name)
            for name in self._live:
                self.eventually(lambda name=name: is_ready(self.api.pod(name)), f"{name} is ready")  # type: ignore[misc]
        except AssertionError as error:
            self.report.faults.append(str(error))

    def _judge_writes(self) -> None:
        there = {m["metadata"]["name"]: m["metadata"]["uid"] for m in self.retry("GET", MAPS)["items"]}
        wrote = self._writer.acknowledged
        lost = [name for name, uid in wrote.items() if there.get(name) != uid]
        self.report.writes = len(wrote)
        self.report.faults += [f"acknowledged write lost: {name}" for name in lost] + self._writer.faults

    def _judge_log(self) -> None:
        lines = [line for line in self.api.log("counts").split("\n") if line]
        self.report.lines = len(lines)
        if lines != [str(n + 1) for n in range(len(lines))]:
            wrong = next(n for n, line in enumerate(lines) if line != str(n + 1))
            self.report.faults.append(f"the log has a gap at line {wrong + 1}: {lines[wrong - 1 : wrong + 2]}")


def images(platform: Platform) -> None:
    app = f"{EXAMPLES / 'demo' / 'app.py'}:/app/app.py"
    platform.image("box:v1", "sh", "sleep", "cat", cmd="sleep 1000")
    platform.image("demo:v1", "python3", add=app, env="VERSION=v1", cmd="python3 -u /app/app.py")


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def box_pod(script: str) -> Object:
    container = {"name": "c", "image": "box:v1", "command": ["sh", "-c", script]}
    return {"terminationGracePeriodSeconds": 0, "containers": [container]}


def deployment(name: str, replicas: int) -> Object:
    # A probe's usual second is too short for a server on a busy processor, whose restart would be blamed on the kills.
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 30}
    container = {
        "name": "c",
        "image": "demo:v1",
        "readinessProbe": probe,
        "livenessProbe": {**probe, "periodSeconds": 2},
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    template["spec"]["terminationGracePeriodSeconds"] = 5
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def victims(kills: int, seed: int) -> list[str]:
    """Half of them daemons, the rest spawners and supervisors, in an order of the seed's."""
    dice = random.Random(seed)
    return [dice.choice(("groundd", "groundd", "spawner", "supervisor")) for _ in range(kills)]
