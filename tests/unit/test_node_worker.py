"""A pod's worker against an engine and a cluster in memory: what happens between two steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.fakes.clock import VirtualClock
from tests.fakes.cluster import FakeCluster
from tests.fakes.node_engine import FakeEngine
from tests.unit.node_builders import container, pod

from groundplane.client.client import Client
from groundplane.engine.contract import EngineError, SandboxInfo, State
from groundplane.node.agent import Node
from groundplane.node.contract import Place
from groundplane.node.spec import sandbox_spec

Object = dict[str, Any]
Run = Callable[[Coroutine[Any, Any, None]], None]


class Network:
    """The pod network, which may refuse."""

    def __init__(self) -> None:
        self.refusals = 0

    async def configure(self, pod_cidr: str) -> None:
        if self.refusals:
            self.refusals -= 1
            raise EngineError("not now")


class Drain:
    async def endpoint_gone(self, pod_ip: str, timeout: float) -> bool:
        return True


class Bench:
    """A node agent with its surroundings; `settle` lets everything come to rest."""

    def __init__(self, root: Path) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))  # `settle` queues behind all
        self.clock = VirtualClock()
        self.engine = FakeEngine(self.clock)
        self.cluster = FakeCluster(self.clock)
        self.client = Client(self.cluster)
        self.network = Network()
        self.root = root
        self.node = self._node()

    def _node(self) -> Node:
        place = Place("n1", "192.0.2.1", str(self.root), str(self.root / "logs"), "10.96.0.10", "cluster.local", 10250)
        return Node(place, self.client, self.engine, self.network, Drain(), self.clock, "test")  # type: ignore[arg-type]

    async def restart(self) -> None:
        """The daemon ends and its successor starts."""
        await self.node.stop()
        self.node = self._node()
        await self.start()

    async def start(self) -> None:
        starting = asyncio.ensure_future(self.node.start())
        await self.settle()
        await starting
        if not (await self.client.nodes.get("n1")).get("spec"):
            await self.client.nodes.patch("n1", {"spec": {"podCIDR": "10.244.0.0/24"}})
        await self.settle()

    async def settle(self) -> None:
        """Until nothing moves any more; what threads do is waited for too."""
        for _ in range(20):
            await self.clock.advance(0)
            await asyncio.to_thread(lambda: None)

    async def later(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        await self.settle()

    async def create(self, body: Object) -> Object:
        spec = {**body["spec"], "nodeName": "n1"}
        meta = {"name": body["metadata"]["name"], "namespace": "default"}
        meta |= {k: v for k, v in body["metadata"].items() if k == "finalizers"}
        made = await self.client.pods.create({**body, "metadata": meta, "spec": spec, "status": {}}, "default")
        await self.settle()
        return made

    async def pod(self, name: str = "p") -> Object:
        return await self.client.pods.get(name, "default")

    async def delete(self, name: str = "p", grace: int = 30) -> None:
        await self.client.pods.delete(name, "default", grace_period=grace)
        await self.settle()

    async def condition(self, type_: str) -> str:
        return next(c["status"] for c in (await self.pod())["status"]["conditions"] if c["type"] == type_)


@asynccontextmanager
async def bench(root: Path) -> AsyncIterator[Bench]:
    made = Bench(root)
    try:
        await made.start()
        yield made
    finally:
        await made.node.stop()


def test_an_ended_pod_gives_back_its_address_and_keeps_its_container(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            volumes = [{"name": "v", "emptyDir": {}}]
            await b.create(pod(restartPolicy="Never", volumes=volumes))
            b.engine.end("web", 0)
            await b.settle()
            assert b.engine.sandboxes.list() == []
            assert len(b.engine.named("web")) == 1
            assert not list(tmp_path.glob("pods/*/volumes"))
            status = (await b.pod())["status"]
            assert (status["phase"], status["podIP"]) == ("Succeeded", "10.244.0.1")
            assert await b.condition("PodReadyToStartContainers") == "False"
            await b.restart()
            assert (await b.pod())["status"] == status
            assert b.engine.log.count("create sandbox") == 1

    run(work())


def test_a_pod_that_its_finalizer_holds_keeps_what_is_known_of_its_end(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod(meta={"finalizers": ["a/b"]}))
            await b.delete()
            await b.later(1)
            held = (await b.pod())["status"]
            assert held["phase"] == "Failed"
            assert held["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143
            assert b.engine.list() == []
            await b.client.pods.patch("p", {"metadata": {"labels": {"a": "b"}}}, "default")
            await b.settle()
            assert (await b.pod())["status"] == held
            await b.restart()
            again = (await b.pod())["status"]
            assert [again[key] for key in ("phase", "containerStatuses")] == [held["phase"], held["containerStatuses"]]
            await b.client.pods.patch("p", {"metadata": {"finalizers": None}}, "default")
            await b.settle()
            assert b.node.pod_count == 0

    run(work())


def test_a_status_that_somebody_overwrote_is_written_again(tmp_path: Path, run: Run) -> None:
    """A node that was silent for a while finds its pods not ready (MarkPodsNotReady), and itself unknown."""

    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod())
            assert await b.condition("Ready") == "True"
            body = await b.pod()
            for one in body["status"]["conditions"]:
                if one["type"] == "Ready":
                    one = one | {"status": "False"}
                    patch = {"status": {"conditions": [one]}}
            kind = "application/strategic-merge-patch+json"
            await b.client.pods.patch("p", patch, "default", type=kind, subresource="status")
            node = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
            await b.client.nodes.patch("n1", node, type=kind, subresource="status")
            await b.settle()
            assert await b.condition("Ready") == "True"
            conditions = (await b.client.nodes.get("n1"))["status"]["conditions"]
            assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["True"]

    run(work())


def test_conditions_of_others_are_not_written(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod(readinessGates=[{"conditionType": "a/x"}]))
            kind = "application/strategic-merge-patch+json"
            for value in ("False", "True"):
                gate = {"status": {"conditions": [{"type": "a/x", "status": value}]}}
                await b.client.pods.patch("p", gate, "default", type=kind, subresource="status")
                await b.settle()
                assert await b.condition("Ready") == value
            bodies: list[Any] = []
            b.cluster.refuse = lambda request: bodies.append(request.body)  # type: ignore[func-returns-value]
            b.engine.end("web", 1)
            await b.settle()
            told = [c["type"] for body in bodies if body and "status" in body for c in body["status"]["conditions"]]
            assert "Ready" in told
            assert "a/x" not in told

    run(work())


def test_an_end_that_somebody_else_declares_is_final(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod())
            body = {"status": {"phase": "Failed", "reason": "Evicted"}}
            kind = "application/strategic-merge-patch+json"
            await b.client.pods.patch("p", body, "default", type=kind, subresource="status")
            await b.settle()
            status = (await b.pod())["status"]
            assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
            assert "stop web" in b.engine.log

    run(work())


def test_a_pod_that_ends_is_still_asked_whether_it_is_ready(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.engine.deaf = {"web"}
            never = {"exec": {"command": ["false"]}}
            await b.create(pod(container(readinessProbe=never, livenessProbe=never)))
            assert await b.condition("Ready") == "False"
            await b.delete()
            await b.later(5)
            assert await b.condition("Ready") == "False"
            await b.restart()
            assert await b.condition("Ready") == "False"

    run(work())


def test_sidecars_are_told_to_stop_after_the_others(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.engine.deaf = {"web"}
            side = container("side", restartPolicy="Always")
            await b.create(pod(init=(side, {**side, "name": "other"})))
            await b.delete(grace=10)
            await b.later(9)
            assert [line for line in b.engine.log if line.startswith("stop")] == ["stop web"]
            await b.later(2)
            assert [line for line in b.engine.log if line.startswith("stop")] == ["stop web", "stop other", "stop side"]

    run(work())


def test_another_image_is_started_whatever_the_restart_policy(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod(restartPolicy="Never"))
            changed = {"spec": {"containers": [container(image="web:2")]}}
            await b.client.pods.patch("p", changed, "default", type="application/strategic-merge-patch+json")
            await b.settle()
            assert [i.state for i in b.engine.named("web")] == [State.RUNNING, State.EXITED]
            assert (await b.pod())["status"]["phase"] == "Running"

    run(work())


def test_a_fault_of_ours_does_not_leave_a_pod_to_itself(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:

            def refuse(call: str) -> None:
                if call == "create web":
                    raise TypeError("nobody thought of it")

            b.engine.refuse = refuse
            await b.create(pod())
            b.engine.refuse = lambda _: None
            await b.later(10)
            assert (await b.pod())["status"]["phase"] == "Running"

    run(work())


def test_the_previous_log_is_that_of_the_last_state(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:

            def previous() -> str:
                worker = b.node.worker("default", "p")
                return worker.container_id("web", previous=True) if worker is not None else "no worker"

            await b.create(pod())
            assert previous() == ""
            for _ in range(2):
                b.engine.end("web", 1)
                await b.settle()
            assert previous() == b.engine.named("web")[0].id  # the one for whose successor it waits
            await b.later(10)
            assert previous() == b.engine.named("web")[1].id

    run(work())


def test_what_fails_while_a_predecessors_traces_are_read_is_tried_again(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:

            def refuse(call: str) -> None:
                if call in ("start web", "remove web"):
                    raise EngineError("not now")

            b.engine.refuse = refuse
            await b.create(pod())
            await b.restart()
            assert not [i for i in b.engine.list() if i.started_at]
            b.engine.refuse = lambda _: None
            await b.later(5)
            assert [i.state for i in b.engine.list()] == [State.RUNNING]

    run(work())


def test_a_start_that_came_to_nothing_leaves_its_name_to_the_next(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:

            def refuse(call: str) -> None:
                if call == "start web":
                    raise OSError(28, "No space left on device")

            b.engine.refuse = refuse
            await b.create(pod())
            waiting = (await b.pod())["status"]["containerStatuses"][0]["state"]["waiting"]
            assert waiting["reason"] == "RunContainerError"
            assert b.engine.list() == []
            b.engine.refuse = lambda _: None
            await b.later(5)
            assert (await b.pod())["status"]["phase"] == "Running"

    run(work())


def test_nothing_of_a_pod_comes_back_after_it_was_cleaned(tmp_path: Path, run: Run) -> None:
    """Its ConfigMaps are being read for the refresh when the pod is deleted."""

    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.client.config_maps.create({"metadata": {"name": "c"}, "data": {"k": "v"}}, "default")
            await b.create(pod(volumes=[{"name": "v", "configMap": {"name": "c"}}]))
            assert list(tmp_path.glob("pods/*/volumes"))
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            real = b.cluster.send

            async def slow(request: Any) -> Any:
                if request.path.endswith("/configmaps/c"):
                    await answer
                return await real(request)

            b.cluster.send = slow  # type: ignore[method-assign]
            await b.later(20)
            await b.delete()
            answer.set_result(None)
            await b.settle()
            assert list(tmp_path.glob("pods/*")) == []

    run(work())


def test_a_new_pod_reads_what_is_newer_than_itself(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.client.config_maps.create({"metadata": {"name": "c"}, "data": {"k": "old"}}, "default")
            env = container(env=[{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}])
            await b.create(pod(env))
            await b.client.config_maps.patch("c", {"data": {"k": "new"}}, "default")
            await b.create(pod(env, meta={"name": "q"}))
            assert [i.spec.env["K"] for i in b.engine.list()] == ["old", "new"]

    run(work())


def test_one_volume_that_cannot_be_does_not_hold_up_the_others(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.client.config_maps.create({"metadata": {"name": "c"}, "data": {"k": "old"}}, "default")
            await b.client.config_maps.create({"metadata": {"name": "gone"}, "data": {}}, "default")
            volumes = [{"name": n, "configMap": {"name": n}} for n in ("gone", "c")]
            await b.create(pod(volumes=volumes))
            await b.client.config_maps.delete("gone", "default")
            await b.client.config_maps.patch("c", {"data": {"k": "new"}}, "default")
            await b.later(20)
            [file] = tmp_path.glob("pods/*/volumes/kubernetes.io~configmap/c/k")
            assert file.read_text() == "new"

    run(work())


def test_the_downward_api_follows_the_pods_labels(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
            await b.create(pod(volumes=[{"name": "v", "downwardAPI": {"items": items}}]))
            await b.client.pods.patch("p", {"metadata": {"labels": {"a": "b"}}}, "default")
            await b.settle()
            [file] = tmp_path.glob("pods/*/volumes/kubernetes.io~downward-api/v/labels")
            assert file.read_text() == 'a="b"'

    run(work())


def test_hosts_files_follow_the_address(tmp_path: Path, run: Run) -> None:
    """After `ground down`, or the host's restart, the pod has another address."""

    async def work() -> None:
        async with bench(tmp_path) as b:
            await b.create(pod())
            [hosts] = tmp_path.glob("pods/*/etc-hosts")
            assert "10.244.0.1\tp\n" in hosts.read_text()
            before = hosts.stat().st_ino
            await b.node.stop()
            b.engine.end("web", 137)
            [sandbox] = b.engine.sandboxes.list()
            await b.engine.sandboxes.remove(sandbox.id)
            b.node = b._node()
            await b.start()
            assert "10.244.0.2\tp\n" in hosts.read_text()
            assert hosts.stat().st_ino == before

    run(work())


def test_a_sandbox_that_could_not_be_made_again_is_replaced(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            made = await b.create(pod())
            await b.node.stop()
            [sandbox] = b.engine.sandboxes.list()
            b.engine.end("web", 137)
            b.engine.sandboxes.put(SandboxInfo(sandbox.id, sandbox_spec(made, "n1"), 1, "", ""))
            b.node = b._node()
            await b.start()
            assert [s.address for s in b.engine.sandboxes.list()] == ["10.244.0.2"]
            assert (await b.pod())["status"]["podIP"] == "10.244.0.2"

    run(work())


def test_a_pod_in_the_hosts_network_has_the_hosts_address(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            field = {"fieldRef": {"fieldPath": "status.podIP"}}
            await b.create(pod(container(env=[{"name": "IP", "valueFrom": field}]), hostNetwork=True))
            assert [i.spec.env["IP"] for i in b.engine.list()] == ["192.0.2.1"]
            [hosts] = tmp_path.glob("pods/*/etc-hosts")
            assert hosts.read_text().startswith("# Kubernetes-managed hosts file (host network).\n")

    run(work())


def test_a_node_is_ready_when_its_network_is(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        b = Bench(tmp_path)
        b.network.refusals = 1
        try:
            await b.start()
            assert not b.node.is_ready
            ready = [c for c in (await b.client.nodes.get("n1"))["status"]["conditions"] if c["type"] == "Ready"]
            assert [c["status"] for c in ready] == ["False"]
            await b.later(1)
            assert b.node.is_ready
        finally:
            await b.node.stop()

    run(work())


def test_orphans_end_together(tmp_path: Path, run: Run) -> None:
    async def work() -> None:
        async with bench(tmp_path) as b:
            b.engine.deaf = {"a", "b"}
            await b.create(pod(container("a"), container("b")))
            await b.node.stop()
            b.cluster._store["/v1/pods"].clear()
            b.node = b._node()
            await b.start()
            await b.later(30)
            assert b.engine.list() == []

    run(work())
