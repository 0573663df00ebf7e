"""The network's marks: one endpoint's change with few and many Services, a pod's attach, names a second.

python -m bench.network            (as root; needs nft and, for the comparison of attach, /usr/lib/cni/ptp)

Everything happens in network namespaces of its own. Peers in the same run: `nft -f` with the very same two elements
(what a proxy pays that starts a process for it), and the CNI plugin `ptp` with `host-local` (a routed veth, as ours).
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fakes.net_bed import SERVICES, Bed
from tests.fakes.net_host import NetHost
from tests.fakes.net_services import endpoint, service, slice_of

from groundplane.base.clock import SystemClock
from groundplane.dataplane.dns.forward import Forwarder
from groundplane.dataplane.dns.server import DnsServer
from groundplane.dataplane.dns.zone import Zone
from groundplane.dataplane.services.plan import ServicePlan, plan_service
from groundplane.engine.networks.pods import PodNetwork
from groundplane.kernel.netlink import netns
from groundplane.wire import dns

CNI = "/usr/lib/cni"


def median(work: Callable[[int], object], times: int) -> float:
    taken = []
    for i in range(times):
        begin = time.perf_counter()
        work(i)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


@contextmanager
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ground-bench-", dir="/tmp"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def plan_of(number: int, addresses: list[str], before: ServicePlan) -> ServicePlan:
    one = service(f"s{number}", f"10.96.{1 + number // 250}.{1 + number % 250}")
    return plan_service(one, [slice_of(f"s{number}", *map(endpoint, addresses))], "n1", before.backends)


THREE = ["10.244.0.1", "10.244.0.2", "10.244.0.3"]


def endpoint_changes() -> None:
    print("one endpoint of one Service replaced, or one more or less, from plan to commit")
    for count in (10, 1000, 5000):
        with directory() as root, Bed(root) as bed:
            plans = {f"default/s{i}": plan_of(i, THREE, ServicePlan()) for i in range(count)}
            begin = time.perf_counter()
            bed.table.reconcile(plans)
            whole = time.perf_counter() - begin

            def change(addresses: list[str], bed: Bed = bed) -> None:
                key = "default/s7"
                bed.table.apply({key: plan_of(7, addresses, bed.table.plans[key])})

            replaced = median(lambda i: change([*THREE[:2], f"10.244.1.{1 + i % 200}"]), 200)
            resized = median(lambda i: change(THREE[: 2 + i % 2]), 200)
            forked = median(lambda i, bed=bed: nft_change(bed, i), 20)  # type: ignore[misc]
            print(
                f"  {count:5} Services  replaced {replaced * 1e3:6.3f} ms   count changed {resized * 1e3:6.3f} ms"
                f"   nft -f {forked * 1e3:6.2f} ms   ratio {replaced / forked:.3f}   all at once {whole * 1e3:.0f} ms"
            )


def nft_change(bed: Bed, i: int) -> None:
    """The same replacement through the nft program (in a map that it can write: the first Service's first endpoint)."""
    key = "10.96.1.1 . tcp . 80 . 0x00000000"
    table = "ip ground-abc123-services"
    text = f"delete element {table} backends {{ {key} }}\n"
    text += f"add element {table} backends {{ {key} : 10.244.2.{1 + i} . 8080 }}\n"
    bed.host.run(lambda: subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True))


def attach() -> None:
    print("a pod's link, address and routes (the network namespace is there already)")
    with directory() as root, NetHost("10.1.0.1") as host:

        async def ours() -> tuple[float, float, float]:
            network = PodNetwork(str(root), "abc123")
            await network.configure("10.244.0.0/24", "10.1.0.1", "10.244.0.0/16")
            attached, detached = [], []
            for i in range(40):
                with NetHost() as pod:
                    begin = time.perf_counter()
                    await network.attach(pod.path, f"{i:064x}")
                    attached.append(time.perf_counter() - begin)
                    begin = time.perf_counter()
                    await network.detach(f"{i:064x}")
                    detached.append(time.perf_counter() - begin)
            pods = [NetHost() for _ in range(30)]
            for i, pod in enumerate(pods):
                await network.attach(pod.path, f"{i:064x}")
            begin = time.perf_counter()
            await asyncio.gather(*(network.detach(f"{i:064x}") for i in range(30)))
            together = time.perf_counter() - begin
            for pod in pods:
                pod.close()
            await network.teardown()
            await network.close()
            return statistics.median(attached), statistics.median(detached), together

        ours_attach, ours_detach, thirty = host.run(lambda: asyncio.run(ours()))
        bare = median(lambda _: os.close(_new_namespace()), 40)
        print(f"  ours   attach {ours_attach * 1e3:6.2f} ms   detach {ours_detach * 1e3:6.2f} ms", end="")
        print(f"   thirty detached at once {thirty * 1e3:.0f} ms")
        print(f"  (the network namespace itself {bare * 1e3:.2f} ms)")
        if os.path.exists(f"{CNI}/ptp"):
            theirs = [cni(host, root, command) for command in ("ADD", "DEL")]
            print(
                f"  ptp    attach {theirs[0] * 1e3:6.2f} ms   detach {theirs[1] * 1e3:6.2f} ms"
                f"   ratio {ours_attach / theirs[0]:.3f}, {ours_detach / theirs[1]:.3f}"
            )


def _new_namespace() -> int:
    return netns.inside_new(lambda: os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


_PTP_PODS: list[NetHost] = []


def cni(host: NetHost, root: Path, command: str) -> float:
    ipam = {
        "type": "host-local",
        "subnet": "10.245.0.0/24",
        "dataDir": str(root / "cni"),
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    config = json.dumps({"cniVersion": "0.4.0", "name": "bench", "type": "ptp", "ipam": ipam}).encode()
    if command == "ADD":
        _PTP_PODS.extend(NetHost() for _ in range(15))

    def call(i: int) -> None:
        pod = _PTP_PODS[i]
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"bench{i}",
            "CNI_NETNS": pod.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": CNI,
            "PATH": os.environ["PATH"],
        }
        host.run(lambda: subprocess.run([f"{CNI}/ptp"], input=config, env=environment, check=True, capture_output=True))

    try:
        return median(call, 15)
    finally:
        if command == "DEL":
            for pod in _PTP_PODS:
                pod.close()
            _PTP_PODS.clear()


def names() -> None:
    zone = Zone("cluster.local", "10.96.0.10", [SERVICES])
    for i in range(1000):
        zone.set(service(f"s{i}", f"10.96.{1 + i // 250}.{1 + i % 250}"), [])
    question = dns.encode(dns.Message(7, (dns.Question(dns.name("s77.default.svc.cluster.local"), dns.A),)))

    async def serve(ready: threading.Event, stop: threading.Event) -> None:
        server = DnsServer(zone, Forwarder(SystemClock(), []))
        server.filled()
        await server.start("127.0.0.1", 5353)
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.05)
        await server.stop()

    with NetHost() as host:
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: host.run(lambda: asyncio.run(serve(ready, stop))))
        thread.start()
        ready.wait(10)
        client = host.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with client:
            client.connect(("127.0.0.1", 5353))

            def one(_: int) -> None:
                client.send(question)
                client.recv(1000)

            took = median(one, 3000)
        stop.set()
        thread.join()
    print(
        f"a cluster name over UDP, asked and answered (1,000 Services, client in the same process): {took * 1e3:.3f} ms"
    )


if __name__ == "__main__":
    endpoint_changes()
    attach()
    names()
