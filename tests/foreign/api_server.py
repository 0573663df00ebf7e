"""A real API server over a memory store, in a thread of its own, for clients that are other programs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.ports import free_port

from groundplane.apiserver import server as apiserver
from groundplane.apiserver.streams.contract import NodeDialer
from groundplane.base.settings import Settings
from groundplane.store.registry import open_store


class Running:
    """Where the server is. `run` calls a program with its kubeconfig; `text` is what it printed."""

    def __init__(self, server: apiserver.ApiServer, home: Path) -> None:
        self.server = server
        self.url = server.url
        self.kubeconfig = server.kubeconfig
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": self.kubeconfig}

    def run(self, *command: str, stdin: str = "", ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**self.environment, **env},
        )
        assert not ok or done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done


async def _goodbyes(loop: asyncio.AbstractEventLoop) -> None:
    """Return once the loop watches nothing but its own pipe: TLS connections say goodbye after the server's end."""
    watched = loop._selector.get_map()  # type: ignore[attr-defined]
    deadline = loop.time() + 60
    while len(watched) > 1 and loop.time() < deadline:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)  # what has just been left is closed in the next turns


@contextmanager
def running(root: Path, dialer: NodeDialer | None = None) -> Iterator[Running]:
    """Start, hand over, stop; whatever happens the thread ends."""
    settings = Settings(root=str(root), run=str(root / "run"), api_port=free_port(), node_ip="10.0.0.1")
    started: list[apiserver.ApiServer] = []
    failed: list[BaseException] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        store = await open_store("memory:")
        server = await apiserver.start(settings, store, host="127.0.0.1")
        try:
            if dialer is not None:
                server.reach_nodes(dialer)
            started.append(server)
            ready.set()
            await stopping.wait()
        finally:
            await server.stop()
            await store.close()
            await _goodbyes(loop)

    def thread() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(serve())
        except BaseException as error:  # noqa: BLE001 because the test's own thread reports it
            failed.append(error)
        finally:
            ready.set()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    runner = threading.Thread(target=thread)
    runner.start()
    ready.wait(60)
    try:
        assert not failed, failed
        yield Running(started[0], root)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)
        runner.join(60)
        assert not runner.is_alive()
