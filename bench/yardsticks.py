"""What this machine does by itself, in the same run as everything else, so that a noisy or slow machine shows."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.rows import Figure, Row, timed

from groundplane.kernel.calls.files import write_text
from groundplane.kernel.cgroups import registry

_BODY = b"x" * 1024
_SERVER = """
import asyncio, ssl, sys
from aiohttp import web
async def main():
    async def get(request):
        return web.Response(body=b"x" * 1024, content_type="application/json")
    app = web.Application()
    app.router.add_get("/", get)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    site = web.TCPSite(runner, "127.0.0.1", int(sys.argv[3]), ssl_context=context)
    await site.start()
    print("ready", flush=True)
    await asyncio.Event().wait()
try:
    import uvloop
    uvloop.run(main())
except ImportError:
    asyncio.run(main())
"""


def wrk(url: str, seconds: float, *words: str, connections: int = 16) -> float:
    """Requests a second that wrk counted; raises RuntimeError where an answer was not 2xx."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *words, url]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"{url}: {text}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if found is None:
        raise RuntimeError(f"wrk printed no rate: {text}")
    return float(found[1])


def fsync(directory: str, times: int) -> Figure:
    """Milliseconds of a 4 KB append and fdatasync: no durable write can beat it."""
    fd, path = tempfile.mkstemp(dir=directory)
    try:
        samples = []
        for _ in range(times):
            os.write(fd, _BODY * 4)
            samples.append(timed(lambda: os.fdatasync(fd)))
    finally:
        os.close(fd)
        os.unlink(path)
    return Figure(samples)


def cgroup_move(times: int) -> Figure:
    """Milliseconds of moving a child into a group: what other runtimes do for each container."""
    groups = registry.detect()
    name = f"groundplane-bench-{os.getpid()}"
    groups.create(name)
    there = groups.entrance(name)
    directory = os.path.dirname(there.tasks[0]) if there.tasks else there.directory
    try:
        with subprocess.Popen(["sleep", "1000"]) as child:
            samples = []
            for _ in range(times):
                time.sleep(0.03)  # the next move within a grace period is free
                samples.append(timed(lambda: write_text(f"{directory}/cgroup.procs", str(child.pid))))
                time.sleep(0.03)
                write_text(f"{os.path.dirname(directory)}/cgroup.procs", str(child.pid))
            child.kill()
        return Figure(samples)
    finally:
        groups.remove(name)


def sqlite_commits(directory: str, seconds: float) -> Figure:
    """Commits a second of one row each, WAL and synchronous=FULL as our store, one writer, no group commit."""
    connection = sqlite3.connect(f"{directory}/yardstick.db", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
        count, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            connection.execute("INSERT INTO t (v) VALUES (?)", (_BODY,))
            count += 1
        return Figure([count / (time.perf_counter() - begin)], "/s")
    finally:
        connection.close()


def bare_server(pki: Path, port: int, seconds: float, rounds: int) -> Figure:
    """GET of 1 KB a second from an aiohttp server that does nothing else, over TLS, 16 connections."""
    words = [sys.executable, "-c", _SERVER, str(pki / "apiserver.crt"), str(pki / "apiserver.key"), str(port)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        server.stdout.readline()
        try:
            return Figure([wrk(f"https://127.0.0.1:{port}/", seconds) for _ in range(rounds)], "req/s")
        finally:
            server.terminate()


def machine_rows(directory: str, rounds: int) -> list[Row]:
    """fork+exec, an interpreter, the disk, SQLite."""
    true = str(shutil.which("true"))

    def run(*words: str) -> Figure:
        return Figure([timed(lambda: subprocess.run(words, check=True)) for _ in range(rounds)])

    commits = asyncio.run(asyncio.to_thread(sqlite_commits, directory, 1.0))
    return [
        Row("yardstick: fork and exec of `true`", run(true), "true"),
        Row("yardstick: a bare interpreter", run(sys.executable, "-I", "-S", "-c", ""), "python3 -I -S -c ''"),
        Row("yardstick: a process moved to another cgroup", cgroup_move(rounds), "write PID to cgroup.procs"),
        Row("yardstick: fdatasync of 4 KB", fsync(directory, rounds * 10), "write(4096); fdatasync()"),
        Row("yardstick: SQLite's own commits, one writer", commits, "INSERT, WAL, synchronous=FULL"),
    ]
