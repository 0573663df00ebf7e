"""The API server's marks over TLS: GET and durable create on 16 connections (wrk), LIST, watch fan-out, memory.

python bench/apiserver.py [--seconds 3]        needs the program wrk

Beside each figure stands kube-apiserver 1.36 with etcd, measured once on such a machine (it cannot be installed here).
The server runs in a process of its own, as `ground apiserver` starts it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from groundplane.base.clock import SystemClock
from groundplane.client import kubeconfig
from groundplane.client.contract import Request
from groundplane.client.https import HttpsTransport

MAPS = "/api/v1/namespaces/default/configmaps"
UPSTREAM = {"get": 4161.0, "create": 2126.0, "list": 0.43}
POST = """
local n, mine = 0, 0
local threads = 0
function setup(thread) threads = threads + 1; thread:set("mine", threads) end
function request()
  n = n + 1
  local body = '{"metadata":{"name":"b-%s-'..mine..'-'..n..'"},"data":{"d":"'..string.rep("x", 800)..'"}}'
  return wrk.format("POST", "%s", nil, body)
end
"""


@contextmanager
def server(root: str) -> Iterator[tuple[str, int]]:
    """(kubeconfig, process id) of a server with a durable store below `root`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "groundplane.cli.main", "apiserver", "--root", root, "--port", str(port)]
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, "GROUND_RUN": f"{root}/run"}, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        found = f"{root}/admin.kubeconfig"
        while not os.path.exists(found):
            if process.poll() is not None or time.perf_counter() - begin > 20:
                raise SystemExit("the API server did not start; try `ground apiserver` by hand")
            time.sleep(0.005)
        print(f"{'ready from nothing, process included':42} {time.perf_counter() - begin:8.2f} s    upstream 2.5 s")
        yield found, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def pss(pid: int) -> float:
    """Proportional set size in MB (proc_pid_smaps_rollup(5))."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.MULTILINE)[1]) / 1024  # type: ignore[index]


def wrk(url: str, token: str, seconds: float, script: str = "") -> float:
    command = ["wrk", "-t1", "-c16", f"-d{seconds:g}s", "-H", f"Authorization: Bearer {token}"]
    done = subprocess.run(
        [*command, "-H", "Content-Type: application/json", *(["-s", script] if script else []), url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"wrk met refusals:\n{done.stdout}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])  # type: ignore[index]


def told(name: str, rate: float, upstream: float) -> None:
    print(f"{name:42} {rate:8.0f} /s   upstream {upstream:.0f}/s, {rate / upstream:.1f} x")


async def send(client: HttpsTransport, method: str, path: str, body: object = None) -> dict[str, object]:
    answer = await client.send(Request(method, path, {}, body))
    if answer.status >= 400:
        raise SystemExit(f"{method} {path}: {answer.body}")
    found: dict[str, object] = answer.body
    return found


async def token_of(client: HttpsTransport) -> str:
    """A service account that may do everything, since wrk shows no client certificate."""
    await send(client, "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "bench"}})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": "bench", "namespace": "default"}
    binding = {"metadata": {"name": "bench"}, "roleRef": role, "subjects": [subject]}
    await send(client, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    path = "/api/v1/namespaces/default/serviceaccounts/bench/token"
    answer = await send(client, "POST", path, {"spec": {"expirationSeconds": 7200}})
    status = answer["status"]
    assert isinstance(status, dict)
    return str(status["token"])


async def listing(url: str, context: ssl.SSLContext, token: str) -> tuple[float, int]:
    """Median seconds of a LIST's bytes, and how many there are."""
    import aiohttp

    taken, size = [], 0
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for _ in range(7):
            begin = time.perf_counter()
            async with session.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                size = len(await response.read())
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken), size


async def fan_out(client: HttpsTransport, watchers: int, writes: int) -> tuple[float, float]:
    """(events delivered a second to `watchers`, median milliseconds from POST to the event with one watcher)."""
    now = await send(client, "GET", f"{MAPS}?limit=1")
    meta = now["metadata"]
    assert isinstance(meta, dict)
    since = str(meta["resourceVersion"])
    seen = 0

    async def watch() -> None:
        nonlocal seen
        count = 0
        stream = client.watch(MAPS, {"resourceVersion": since})
        async for _ in stream:
            seen += 1
            count += 1
            if count == writes:
                break
        await stream.aclose()  # type: ignore[attr-defined]

    tasks = [asyncio.ensure_future(watch()) for _ in range(watchers)]
    await asyncio.sleep(0.5)  # until every watch stands
    begin = time.perf_counter()
    for n in range(writes):
        await send(client, "POST", MAPS, {"metadata": {"name": f"w-{since}-{n}"}})
    await asyncio.gather(*tasks)
    return seen / (time.perf_counter() - begin), seen


async def latency(client: HttpsTransport) -> float:
    """Median milliseconds from a POST's beginning to the watch event."""
    now = await send(client, "GET", f"{MAPS}?limit=1")
    meta = now["metadata"]
    assert isinstance(meta, dict)
    stream = client.watch(MAPS, {"resourceVersion": str(meta["resourceVersion"])})
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    taken = []
    for n in range(100):
        begin = time.perf_counter()
        post = asyncio.ensure_future(send(client, "POST", MAPS, {"metadata": {"name": f"l-{n}"}}))
        await waiting
        taken.append((time.perf_counter() - begin) * 1e3)
        await post
        waiting = asyncio.ensure_future(anext(stream))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await stream.aclose()  # type: ignore[attr-defined]
    return statistics.median(taken)


async def run(root: str, seconds: float) -> None:
    with server(root) as (config, pid):
        access = kubeconfig.load(config)
        client = HttpsTransport(access, SystemClock())
        try:
            token = await token_of(client)
            await send(client, "POST", MAPS, {"metadata": {"name": "one"}, "data": {"d": "x" * 800}})
            url, wait = access.server, asyncio.to_thread
            told("GET of 1 KB, 16 connections", await wait(wrk, f"{url}{MAPS}/one", token, seconds), UPSTREAM["get"])
            script = f"{root}/post.lua"
            with open(script, "w") as file:
                file.write(POST % (os.getpid(), MAPS))
            told("create, durable, 16 connections", await wait(wrk, url, token, seconds, script), UPSTREAM["create"])
            print(f"{'POST to watch event, median':42} {await latency(client):8.2f} ms   upstream 1.7 ms")
            rate, _ = await fan_out(client, 200, 50)
            print(f"{'events to 200 watchers (one client process)':42} {rate:8.0f} /s")
            context = ssl.create_default_context(cadata=access.ca.decode())
            before = pss(pid)
            taken, size = await listing(f"{url}{MAPS}?limit=17000", context, token)
            print(f"{'LIST of up to 17,000':42} {taken:8.3f} s    {size >> 20} MB; upstream {UPSTREAM['list']} s")
            print(f"{'memory (PSS) before and after the LISTs':42} {before:8.0f} MB   {pss(pid):.0f} MB")
        finally:
            await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("bench/apiserver.py needs the program wrk")
    root = tempfile.mkdtemp(prefix="ground-bench-", dir="/tmp")
    try:
        asyncio.run(run(root, options.seconds))
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
