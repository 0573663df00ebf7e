"""`ground up` on two hosts with one etcd: one's loops act, and when it goes the other's take over."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from tests.fakes import etcd
from tests.fakes.ports import free_port

from groundplane.base.clock import SystemClock
from groundplane.base.settings import Settings
from groundplane.client.client import Client
from groundplane.client.contract import Object
from groundplane.client.resources import DEPLOYMENTS, LEASES, REPLICA_SETS
from groundplane.daemon import identities
from groundplane.daemon.controlplane import ControlPlane
from groundplane.serve.pki import Pki


def settings(root: Path, url: str) -> Settings:
    return Settings(root=str(root), run=str(root / "run"), api_port=free_port(), node_ip="10.0.0.1", store=url)


def deployment(name: str) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "web"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


async def rolled(client: Client, name: str) -> None:
    """Somebody's loops have acted on the Deployment."""
    await client.of(DEPLOYMENTS).create(deployment(name))
    while not [
        r for r in (await client.of(REPLICA_SETS).list("default"))["items"] if r["metadata"]["name"].startswith(name)
    ]:
        await asyncio.sleep(0.02)


async def holders(client: Client) -> list[str]:
    """Who holds the leases of the loops."""
    found = (await client.of(LEASES).list("kube-system"))["items"]
    return [i["spec"].get("holderIdentity") or "" for i in found if i["metadata"]["name"].startswith("kube-")]


async def one_holder(client: Client, former: str = "") -> str:
    """Who holds both leases, controllers' and scheduler's, once it is one, and not `former`."""
    while len(found := await holders(client)) != 2 or found[0] != found[1] or found[0] in ("", former):
        await asyncio.sleep(0.02)
    return found[0]


@pytest.mark.needs("etcd")
def test_the_loops_run_once_and_are_taken_over(state_root: Path) -> None:
    async def scenario(url: str) -> None:
        Pki(str(state_root / "a" / "pki")).service_account_key()
        assert Pki(str(state_root / "a" / "pki")).ca
        shutil.copytree(state_root / "a" / "pki", state_root / "b" / "pki")
        one, other = (ControlPlane(settings(state_root / n, url), SystemClock()) for n in "ab")
        try:
            first = (await one.start())(identities.ADMIN, "test")
            await rolled(first, "before")
            former = await one_holder(first)
            second = (await other.start())(identities.ADMIN, "test")
            await rolled(second, "between")
            assert await holders(second) == [former, former]
            await one.stop()
            await rolled(second, "after")
            await one_holder(second, former)
        finally:
            await one.stop()
            await other.stop()
        assert os.listdir(state_root / "a" / "store") == []

    with etcd.cluster(state_root) as server:
        asyncio.run(asyncio.wait_for(scenario(server.url()), 120))
