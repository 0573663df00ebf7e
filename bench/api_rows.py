"""The API server alone, as a process over SQLite: reads, durable creates, a large list, watch, memory.

Load comes from wrk with a service account's token over TLS, in a process of its own. For kube-apiserver, which cannot
be installed everywhere, the figures that were measured on this kind of machine stand as constants beside ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.api import Api
from bench.memory import pss
from bench.rows import Figure, Goal, Row, timed
from bench.yardsticks import bare_server, wrk

_NAMESPACE = "/api/v1/namespaces/default/configmaps"
_OBJECTS = 17_000
_UPSTREAM = "kube-apiserver 1.36 + etcd (measured before)"
_LUA = """
local count, salt = 0, tostring(os.time()) .. "%s"
local value = string.rep("x", 1000)
request = function()
  count = count + 1
  local body = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' .. salt .. "-" .. count
    .. '"},"data":{"key":"' .. value .. '"}}'
  return wrk.format("POST", nil, nil, body)
end
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def api_server(root: Path) -> Iterator[int]:
    """`ground apiserver` as a process; its pid. It writes root/admin.kubeconfig before it says that it is ready."""
    words = [str(Path(sys.executable).parent / "ground"), "apiserver", "--root", str(root), "--host", "127.0.0.1"]
    environ = {**os.environ, "GROUND_RUN": str(root / "run"), "GROUND_CONFIG": "/nowhere"}
    with (
        open(root / "log", "w") as log,
        subprocess.Popen(
            [*words, "--port", str(free_port())], stdout=subprocess.PIPE, stderr=log, text=True, env=environ
        ) as server,
    ):
        assert server.stdout is not None
        try:
            if not server.stdout.readline():
                raise RuntimeError(f"ground apiserver: {(root / 'log').read_text()[-500:]}")
            yield server.pid
        finally:
            server.send_signal(signal.SIGTERM)


def ready_times(rounds: int) -> Figure:
    """Milliseconds from exec to the line that says ready, certificates and store made anew."""
    samples = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="ground-bench-") as root:
            server = api_server(Path(root))
            samples.append(timed(server.__enter__))
            server.__exit__(None, None, None)
    return Figure(samples)


def api_rows(*, rounds: int, seconds: float) -> list[Row]:
    command = "ground apiserver --root NEW --port N"
    rows = [Row("API server ready from nothing", ready_times(max(2, rounds // 4)), command, goal=Goal(600.0))]
    with tempfile.TemporaryDirectory(prefix="ground-bench-") as place:
        root = Path(place)
        with api_server(root) as pid:
            api = Api(str(root / "admin.kubeconfig"))
            try:
                rows += _latencies(api, rounds * 10)
                if shutil.which("wrk"):
                    rows += _rates(api, pid, root, rounds, seconds)
                else:
                    rows.append(Row("API rates", None, "wrk", note="wrk is not installed"))
            finally:
                api.close()
    return rows


def _latencies(api: Api, times: int) -> list[Row]:
    """One connection: a create's answer, and its event at a watcher of the same process."""
    events = api.watch(_NAMESPACE)

    def until_event(i: int) -> None:
        api.call("POST", _NAMESPACE, {"metadata": {"name": f"watched-{i}"}, "data": {"k": "v" * 1000}})
        next(events)

    watched = Figure([timed(lambda i=i: until_event(i)) for i in range(times)])  # type: ignore[misc]
    get = Figure([timed(lambda: api.call("GET", f"{_NAMESPACE}/watched-0")) for _ in range(times)])
    peers = {_UPSTREAM: Figure([1.7])}
    note = "the client's own JSON and TLS are in it"
    return [
        Row("POST to its event at a watcher", watched, f"POST {_NAMESPACE}; watch", peers, Goal(1.7), note),
        Row("GET of a 1 KB object, one connection", get, f"GET {_NAMESPACE}/NAME", note=note),
    ]


def _rates(api: Api, pid: int, root: Path, rounds: int, seconds: float) -> list[Row]:
    header = ["-H", f"Authorization: Bearer {api.token()}"]
    collection, rounds = api.url + _NAMESPACE, max(2, rounds // 7)
    bare, gets = [], []
    for _ in range(rounds):
        gets.append(wrk(f"{collection}/watched-0", seconds, *header))
        bare += bare_server(root / "pki", free_port(), seconds, 1).samples
    script = root / "create.lua"
    creates, before = [], pss(pid)
    while len(creates) < rounds or _count(api) < _OBJECTS:
        script.write_text(_LUA % len(creates))
        json_type = ["-H", "Content-Type: application/json"]
        creates.append(wrk(collection, seconds, *header, *json_type, "-s", str(script)))
        if len(creates) > 60:
            raise RuntimeError(f"{_count(api)} objects after {len(creates)} rounds of creates")
    count, full = _count(api), pss(pid)
    listed = Figure([timed(lambda: _list(api)) for _ in range(rounds * 2)])
    stepped = pss(pid)
    upstream = {_UPSTREAM: Figure([4161.0], "req/s")}
    aiohttp = {"bare aiohttp": Figure(bare, "req/s")}
    note = f"{count} ConfigMaps of 1 KB; apiserver {before:.0f} MB before; upstream 634 MB + etcd 173 MB"
    return [
        Row(
            "GET of a 1 KB object, 16 connections, TLS",
            Figure(gets, "req/s"),
            f"wrk -t1 -c16 https://…{_NAMESPACE}/NAME",
            upstream | aiohttp,
            Goal(1.5 * 4161, at_least=True),
        ),
        Row(
            "durable create, 16 connections, TLS",
            Figure(creates, "req/s"),
            f"wrk -t1 -c16 -s create.lua https://…{_NAMESPACE}",
            {_UPSTREAM: Figure([2126.0], "req/s")},
            Goal(2126.0, at_least=True),
        ),
        Row(
            f"LIST of {_OBJECTS:,} objects",
            listed,
            f"GET {_NAMESPACE}?limit={_OBJECTS}, all bytes read",
            {_UPSTREAM: Figure([435.0])},
            Goal(0.4 * 435),
            f"memory grew by {stepped - full:.0f} MB; the client reads in the same machine",
        ),
        Row("memory of the API server with these objects", Figure([stepped], "MB"), "Pss", goal=Goal(242.0), note=note),
    ]


def _count(api: Api) -> int:
    answer = api.call("GET", f"{_NAMESPACE}?limit=1")
    return 1 + int(answer["metadata"].get("remainingItemCount", 0))


def _list(api: Api) -> None:
    status, body = api.raw("GET", f"{_NAMESPACE}?limit={_OBJECTS}")
    assert status == 200 and len(body) > _OBJECTS * 1000, (status, len(body))
