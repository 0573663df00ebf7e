"""The whole platform in a network namespace of its own: from nothing to a running pod, pods one by one and together,
deletion, rest. All as a user's client sees it: over TLS, with a watch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.api import Api
from bench.memory import cpu_seconds, daemons_pss
from bench.rows import Figure, Goal, Row
from tests.fakes.net_host import NetHost
from tests.real import leaks
from tests.real.ground_rig import Ground

_ADDRESS = "10.1.0.1"
_PODS = "/api/v1/namespaces/default/pods"
_DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
_DEADLINE = 60.0
_UPSTREAM = "upstream 1.36 (measured before)"
_ENDS_ON_TERM = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"]


def _pod_spec() -> dict[str, Any]:
    container = {"name": "main", "image": "box", "imagePullPolicy": "IfNotPresent", "command": _ENDS_ON_TERM}
    return {"containers": [container], "terminationGracePeriodSeconds": 30}


def _pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": _pod_spec()}


@contextmanager
def _installed() -> Iterator[Ground]:
    """An instance with the image and nothing else; taken down with everything at the end."""
    directory = Path(tempfile.mkdtemp(prefix="ground-bench-", dir="/tmp"))
    g = Ground(directory)
    g.environ |= {"GROUND_NODE_IP": _ADDRESS}
    busybox = str(shutil.which("busybox"))
    try:
        _load_image(g, busybox)
        yield g
    finally:
        g("down", "--purge")
        for line in leaks.processes([g.run_dir]):  # only after a failure
            os.kill(int(line.split(" ")[0]), 9)
        shutil.rmtree(directory, ignore_errors=True)


def _load_image(g: Ground, busybox: str) -> None:
    programs = [word for name in ("sh", "sleep", "true") for word in ("--add", f"{busybox}:/bin/{name}")]
    g.ok("image", "from-host", "--name", "box", *programs, busybox)
    g.ok("down")


def _until(events: Iterator[dict[str, Any]], done: Callable[[dict[str, Any]], bool]) -> None:
    """Read events until one is it."""
    deadline = time.monotonic() + _DEADLINE
    for event in events:
        if done(event):
            return
        if time.monotonic() > deadline:
            break
    raise RuntimeError("the cluster did not get there in time")


def _runs(name: str) -> Callable[[dict[str, Any]], bool]:
    def done(event: dict[str, Any]) -> bool:
        found = event["object"]
        return bool(found["metadata"]["name"] == name and found["status"].get("phase") == "Running")

    return done


def _gone(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: bool(event["type"] == "DELETED" and event["object"]["metadata"]["name"] == name)


def _up_to_running(g: Ground, name: str) -> tuple[float, float]:
    """Milliseconds of `ground up`, and from its start to a first pod that runs."""
    begin = time.perf_counter()
    subprocess.run([str(Path(sys.executable).parent / "ground"), "up"], env=g.environ, check=True, capture_output=True)
    up = time.perf_counter() - begin
    api = Api(str(g.root / "admin.kubeconfig"))
    events = api.watch(_PODS)
    try:
        while api.raw("POST", _PODS, _pod(name))[0] == 403:  # until the default service account is there, as upstream
            assert time.perf_counter() - begin < _DEADLINE
            time.sleep(0.01)
        _until(events, _runs(name))
        return up * 1e3, (time.perf_counter() - begin) * 1e3
    finally:
        events.close()  # type: ignore[attr-defined]
        api.close()


def _starts(rounds: int) -> list[Row]:
    cold, warm = [], []
    for _ in range(rounds):
        with _installed() as g:
            cold.append(_up_to_running(g, "first"))
            g.ok("down")
            warm.append(_up_to_running(g, "second"))
    rows = []
    for what, taken, goal, upstream in (("cold", cold, 2500.0, 8600.0), ("warm", warm, 1200.0, 3300.0)):
        ups, firsts = (Figure([pair[i] for pair in taken]) for i in (0, 1))
        note = "a new root with only the image in it" if what == "cold" else "the same root again after `ground down`"
        rows.append(Row(f"`ground up`, {what}", ups, "ground up", note=note))
        peers = {_UPSTREAM: Figure([upstream])}
        command = f"ground up; POST {_PODS}; watch"
        rows.append(Row(f"`ground up` to a first pod Running, {what}", firsts, command, peers, Goal(goal)))
    return rows


def _one_by_one(api: Api, count: int) -> list[Row]:
    events = api.watch(_PODS)
    running, gone = [], []
    for i in range(count):
        name = f"single-{i}"
        begin = time.perf_counter()
        api.call("POST", _PODS, _pod(name))
        _until(events, _runs(name))
        running.append((time.perf_counter() - begin) * 1e3)
        begin = time.perf_counter()
        api.call("DELETE", f"{_PODS}/{name}")
        _until(events, _gone(name))
        gone.append((time.perf_counter() - begin) * 1e3)
    p99 = f"p99 {Figure(running).quantile(0.99):.0f} ms"
    return [
        Row(
            "pod create call to Running",
            Figure(running),
            f"POST {_PODS}; watch",
            {_UPSTREAM: Figure([476.0])},
            Goal(120.0),
            f"{count} pods one after the other, {p99}",
        ),
        Row(
            "pod delete call to gone (ends on TERM)",
            Figure(gone),
            f"DELETE {_PODS}/NAME; watch",
            {_UPSTREAM: Figure([630.0])},
            Goal(150.0),
        ),
    ]


def _deployment(api: Api, run: Path, rounds: int, replicas: int = 30) -> list[Row]:
    taken, ended, each = [], [], []
    for i in range(rounds):
        events, names, before = api.watch(_PODS), set[str](), daemons_pss(run)

        def all_run(event: dict[str, Any], names: set[str] = names) -> bool:
            if event["object"]["status"].get("phase") == "Running":
                names.add(event["object"]["metadata"]["name"])
            return len(names) == replicas

        def all_gone(event: dict[str, Any], names: set[str] = names) -> bool:
            if event["type"] == "DELETED":
                names.discard(event["object"]["metadata"]["name"])
            return not names

        labels = {"app": f"many-{i}"}
        template = {"metadata": {"labels": labels}, "spec": _pod_spec()}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        begin = time.perf_counter()
        api.call("POST", _DEPLOYMENTS, {"metadata": {"name": f"many-{i}"}, "spec": spec})
        _until(events, all_run)
        taken.append((time.perf_counter() - begin) * 1e3)
        each.append((daemons_pss(run) - before) / replicas)
        begin = time.perf_counter()
        api.call("DELETE", f"{_DEPLOYMENTS}/many-{i}?propagationPolicy=Background")
        _until(events, all_gone)
        ended.append((time.perf_counter() - begin) * 1e3)
    running, gone = {_UPSTREAM: Figure([3900.0])}, {_UPSTREAM: Figure([3400.0])}
    what = f"{replicas}-replica Deployment"
    memory = Row("memory of a pod", Figure(each, "MB"), "Pss", {_UPSTREAM: Figure([7.8], "MB")}, Goal(1.0))
    return [
        Row(f"{what}, all Running", Figure(taken), f"POST {_DEPLOYMENTS}; watch pods", running, Goal(2000.0)),
        Row(f"{what}, deleted, all gone", Figure(ended), f"DELETE {_DEPLOYMENTS}/NAME; watch pods", gone, Goal(1000.0)),
        memory,
    ]


def _idle(run: Path, seconds: float) -> list[Row]:
    """At rest: nothing is asked for `seconds`."""
    before, begin = cpu_seconds(run), time.perf_counter()
    time.sleep(seconds)
    share = 100 * (cpu_seconds(run) - before) / (time.perf_counter() - begin)
    size = Figure([daemons_pss(run)], "MB")
    note = f"all processes of the platform, over {seconds:g} s, nothing asked of it"
    cpu = {_UPSTREAM: Figure([3.5], "%")}
    return [
        Row(
            "idle platform, memory",
            size,
            "/proc/PID/smaps_rollup",
            {_UPSTREAM: Figure([693.0], "MB")},
            Goal(150.0),
            note,
        ),
        Row("idle platform, share of a core", Figure([share], "%"), "/proc/PID/task/*/schedstat", cpu, Goal(2.0), note),
    ]


def platform_rows(*, rounds: int, idle: float) -> list[Row]:
    """Everything, inside a host of its own."""

    def work() -> list[Row]:
        rows = _starts(rounds)
        with _installed() as g:
            g.ok("up")
            api = Api(str(g.root / "admin.kubeconfig"))
            try:
                while api.raw("GET", "/api/v1/namespaces/default/serviceaccounts/default")[0] != 200:
                    time.sleep(0.01)
                fresh = _idle(g.run_dir, idle)
                rows += _one_by_one(api, 10 * rounds)
                rows += _deployment(api, g.run_dir, rounds)
            finally:
                api.close()
        return rows + fresh

    with NetHost(_ADDRESS) as host:
        return host.run(work)
