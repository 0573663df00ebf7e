"""Two API servers on one etcd: whoever asks either of them sees one cluster."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import etcd
from tests.fakes.ports import free_port

from groundplane.apiserver import server as apiserver
from groundplane.apiserver.access.contract import User
from groundplane.apiserver.server import ApiServer
from groundplane.base.clock import SystemClock
from groundplane.base.settings import Settings
from groundplane.client.client import Client
from groundplane.client.contract import ApiError, Object
from groundplane.client.informer import InformerFactory
from groundplane.client.resources import CONFIG_MAPS, Resource
from groundplane.store.contract import Store
from groundplane.store.registry import open_store

pytestmark = pytest.mark.needs("etcd")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False)
ADMIN = User("kubernetes-admin", groups=("system:masters", "system:authenticated"))


@dataclass
class Pair:
    stores: list[Store]
    servers: list[ApiServer]
    clients: list[Client]


@asynccontextmanager
async def pair(root: Path, urls: tuple[str, str]) -> AsyncIterator[Pair]:
    """Both of one certificate authority, each with a store of its own, started at the same moment."""
    made = Pair([], [], [])
    try:
        for name, url in zip("ab", urls, strict=True):
            made.stores.append(await open_store(url))
            if name == "b":
                shutil.copytree(root / "a" / "pki", root / "b" / "pki")
            else:
                _authority(root / "a")
        starting = (_start(root / name, store) for name, store in zip("ab", made.stores, strict=True))
        made.servers = list(await asyncio.gather(*starting))
        made.clients = [Client(s.transport(ADMIN, "test")) for s in made.servers]
        yield made
    finally:
        for running in made.servers:
            await running.stop()
        for store in made.stores:
            await store.close()


def _authority(root: Path) -> None:
    from groundplane.serve.pki import Pki

    pki = Pki(str(root / "pki"))
    pki.service_account_key()
    assert pki.ca


async def _start(root: Path, store: Store) -> ApiServer:
    settings = Settings(root=str(root), run=str(root / "run"), api_port=free_port(), node_ip="10.0.0.1")
    return await apiserver.start(settings, store, host="127.0.0.1")


def played(root: Path, scenario: Any) -> None:
    async def play() -> None:
        async with asyncio.timeout(120), pair(root, (server.url("/cluster"),) * 2) as made:
            await scenario(made)

    with etcd.cluster(root) as server:
        asyncio.run(play())


def config(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": data}


def test_what_one_answered_the_other_shows(state_root: Path) -> None:
    async def scenario(made: Pair) -> None:
        for n in range(60):
            here, there = made.clients[n % 2], made.clients[1 - n % 2]
            created = await here.of(CONFIG_MAPS).create(config(f"c{n}", v="1"))
            seen = await there.of(CONFIG_MAPS).get(f"c{n}", "default")
            assert seen == created
            listed = await there.of(CONFIG_MAPS).list("default")
            assert f"c{n}" in [i["metadata"]["name"] for i in listed["items"]]
            changed = await there.of(CONFIG_MAPS).update({**seen, "data": {"v": "2"}})
            with pytest.raises(ApiError) as caught:
                await there.of(CONFIG_MAPS).update({**created, "data": {"v": "3"}})
            assert caught.value.is_conflict
            assert await here.of(CONFIG_MAPS).get(f"c{n}", "default") == changed
            await here.of(CONFIG_MAPS).delete(f"c{n}", "default")
            with pytest.raises(ApiError) as caught:
                await there.of(CONFIG_MAPS).get(f"c{n}", "default")
            assert caught.value.is_not_found

    played(state_root, scenario)


def test_both_count_up_one_object(state_root: Path) -> None:
    """Read, add one, replace, again at a conflict: no step is lost, on whichever server it was made."""

    async def count(client: Client, times: int) -> None:
        for _ in range(times):
            while True:
                seen = await client.of(CONFIG_MAPS).get("count", "default")
                more = {**seen, "data": {"n": str(int(seen["data"]["n"]) + 1)}}
                with suppress(ApiError):
                    await client.of(CONFIG_MAPS).update(more)
                    break

    async def scenario(made: Pair) -> None:
        await made.clients[0].of(CONFIG_MAPS).create(config("count", n="0"))
        await asyncio.gather(*(count(c, 15) for c in made.clients for _ in range(2)))
        seen = await made.clients[0].of(CONFIG_MAPS).get("count", "default")
        assert seen["data"]["n"] == "60"
        # A patch without a version is repeated by the server itself until it fits.
        patches = [c.of(CONFIG_MAPS).patch("count", {"data": {f"k{n}": "x"}}, "default")
                   for n, c in enumerate(made.clients * 10)]  # fmt: skip
        await asyncio.gather(*patches)
        seen = await made.clients[1].of(CONFIG_MAPS).get("count", "default")
        assert len(seen["data"]) == 21

    played(state_root, scenario)


def test_a_watch_of_one_sees_the_writes_of_the_other(state_root: Path) -> None:
    async def scenario(made: Pair) -> None:
        informers = InformerFactory(made.clients[1], SystemClock())
        informer = informers.informer(CONFIG_MAPS, namespace="default")
        informers.start()
        try:
            await informer.synced()
            for n in range(30):
                await made.clients[0].of(CONFIG_MAPS).create(config(f"w{n}", n=str(n)))
            async with asyncio.timeout(60):
                while len([i for i in informer.cache.list() if i["metadata"]["name"].startswith("w")]) < 30:
                    await asyncio.sleep(0.01)
        finally:
            await informers.stop()

    played(state_root, scenario)


def test_addresses_and_ports_are_given_once(state_root: Path) -> None:
    async def scenario(made: Pair) -> None:
        def service(name: str, **spec: Any) -> Object:
            return {
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                "spec": {"type": "NodePort", "ports": [{"port": 80}], **spec},
            }  # fmt: skip

        found = await asyncio.gather(
            *(made.clients[n % 2].services.create(service(f"s{n}"), "default") for n in range(24))
        )
        assert len({s["spec"]["clusterIP"] for s in found}) == 24
        assert len({s["spec"]["ports"][0]["nodePort"] for s in found}) == 24
        wanted = "10.96.0.77"
        asked = (c.services.create(service(f"own{n}", clusterIP=wanted), "default") for n, c in enumerate(made.clients))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        [refused] = [a for a in answers if isinstance(a, ApiError)]
        assert "provided IP is already allocated" in str(refused)
        [winner] = [a for a in answers if isinstance(a, dict)]
        await made.clients[1].services.delete(winner["metadata"]["name"], "default")
        again = await made.clients[0].services.create(service("again", clusterIP=wanted), "default")
        assert again["spec"]["clusterIP"] == wanted

    played(state_root, scenario)


def test_a_server_that_missed_history_begins_anew(state_root: Path) -> None:
    """Its member was down while the others went on and compacted: it reads everything again, access rules too."""

    async def scenario(server: etcd.Cluster, made: Pair) -> None:
        deaf = server.members[0]
        eve = Client(made.servers[0].transport(User("eve", groups=("system:authenticated",)), "test"))
        gone = await made.clients[1].of(CONFIG_MAPS).create(config("gone"))
        with pytest.raises(ApiError):
            await eve.of(CONFIG_MAPS).list("default")
        watch = made.clients[0].of(CONFIG_MAPS).watch("default")
        assert (await anext(watch)).object == gone
        more = asyncio.ensure_future(anext(watch, None))
        deaf.kill()
        await made.clients[1].of(CONFIG_MAPS).delete("gone", "default")
        await made.clients[1].of(CONFIG_MAPS).create(config("new"))
        binding: Object = {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "eve"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
        }  # fmt: skip
        await made.clients[1].of(BINDINGS).create(binding)
        await made.stores[1].compact(await made.stores[1].sync())
        await asyncio.to_thread(server.restart, deaf)
        while True:
            try:
                names = [i["metadata"]["name"] for i in (await eve.of(CONFIG_MAPS).list("default"))["items"]]
                break
            except ApiError:  # not yet: Forbidden, or unavailable
                await asyncio.sleep(0.02)
        assert "new" in names and "gone" not in names
        with suppress(ApiError):  # the watch has ended, and its client lists again
            assert await more is None
        await made.clients[0].of(CONFIG_MAPS).create(config("after"))
        assert await made.clients[1].of(CONFIG_MAPS).get("after", "default")

    async def play(server: etcd.Cluster) -> None:
        others = etcd.Cluster(server.members[1:])
        urls = (f"etcd://{server.members[0].address}/cluster", others.url("/cluster"))
        async with asyncio.timeout(120), pair(state_root, urls) as made:
            await scenario(server, made)

    with etcd.cluster(state_root, 3) as server:
        asyncio.run(play(server))


@pytest.mark.needs("kubectl")
def test_kubectl_may_ask_either(state_root: Path) -> None:
    async def kubectl(server: ApiServer, *words: str) -> str:
        command = ("kubectl", f"--kubeconfig={server.kubeconfig}", *words)
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=99, check=False)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    async def scenario(made: Pair) -> None:
        one, other = made.servers
        await kubectl(one, "create", "namespace", "shop")
        await kubectl(other, "-n", "shop", "create", "configmap", "prices", "--from-literal=tea=3")
        assert "tea" in await kubectl(one, "-n", "shop", "get", "configmap", "prices", "-o", "yaml")
        await kubectl(one, "-n", "shop", "create", "deployment", "web", "--image=web")
        await kubectl(other, "-n", "shop", "scale", "deployment", "web", "--replicas=3")
        assert (await kubectl(one, "-n", "shop", "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")) == "3"

    played(state_root, scenario)
