"""The Transport contract over all its implementations: the fake, in the process, and over TLS with a kubeconfig."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.transport_suite import CHECKS, Make
from tests.fakes.cluster import FakeCluster
from tests.fakes.ports import free_port

from groundplane.apiserver import server as apiserver
from groundplane.base.clock import SystemClock
from groundplane.base.settings import Settings
from groundplane.client import kubeconfig
from groundplane.client.client import Client
from groundplane.client.https import HttpsTransport
from groundplane.daemon import identities
from groundplane.store.registry import open_store

CLOCK = SystemClock()


@asynccontextmanager
async def _fake(_: Path) -> AsyncIterator[Client]:
    yield Client(FakeCluster(CLOCK))


@asynccontextmanager
async def _server(root: Path) -> AsyncIterator[apiserver.ApiServer]:
    settings = Settings(root=str(root), run=str(root / "run"), api_port=free_port(), node_ip="127.0.0.1")
    store = await open_store("memory:")
    server = await apiserver.start(settings, store, host="127.0.0.1")
    try:
        client = identities.local(server)(identities.ADMIN, "test")
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await client.service_accounts.create(account, "default")
        yield server
    finally:
        await server.stop()
        await store.close()


@asynccontextmanager
async def _local(root: Path) -> AsyncIterator[Client]:
    async with _server(root) as server:
        yield identities.local(server)(identities.ADMIN, "test")


@asynccontextmanager
async def _https(root: Path) -> AsyncIterator[Client]:
    async with _server(root) as server:
        client = Client(HttpsTransport(kubeconfig.load(server.kubeconfig), CLOCK))
        try:
            yield client
        finally:
            await client.close()


@pytest.mark.parametrize("transport", [_fake, _local, _https], ids=["fake", "local", "https"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_transport(run: Callable[..., Any], state_root: Path, transport: Any, check: Callable[[Make], Any]) -> None:
    run(check(lambda: transport(state_root)))
