"""The demo: a real application on a real cluster on this machine, from nothing to nothing, in front of your eyes.

Every step is a `ground` command that you could type; its time stands beside its budget. The demo uses an instance of
its own (GROUND_ROOT, GROUND_RUN below) and leaves another Groundplane, or Docker, on this host alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from groundplane.base.ids import instance_hash

HERE = Path(__file__).resolve().parent
GROUND = str(Path(sys.executable).parent / "ground")
ROOT = os.environ.get("GROUND_ROOT", "/var/lib/groundplane-demo")
RUN = os.environ.get("GROUND_RUN", "/run/groundplane-demo")
COUNTER = os.environ.get(
    "DEMO_COUNTER", "/var/tmp/groundplane-demo-counter"
)  # the application's: no --purge touches it
ENV = {**os.environ, "GROUND_ROOT": ROOT, "GROUND_RUN": RUN}


class DemoFailed(Exception):
    """One sentence: which command failed and what it said."""


def ground(*words: str, quiet: bool = True) -> str:
    """Run a `ground` command; what it printed."""
    if not quiet:
        print(f"    $ ground {' '.join(words)}", flush=True)
    done = subprocess.run([GROUND, *words], env=ENV, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise DemoFailed(f"`ground {' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def step(title: str, budget: float, work: Callable[[], str]) -> None:
    """Do one step, and print its time beside its budget and what it showed."""
    print(f"\n● {title}", flush=True)
    started = time.monotonic()
    shown = work()
    seconds = time.monotonic() - started
    for line in shown.rstrip().splitlines():
        print(f"    {line}")
    verdict = "" if seconds <= budget else "  ← slower than its budget"
    print(f"    {seconds:5.2f} s of {budget:g} s{verdict}", flush=True)


def service_address() -> str:
    found = ground("kube", "get", "service", "web", "-n", "demo", "-o", "jsonpath={.spec.clusterIP}").strip()
    if not found:
        raise DemoFailed("the Service has no cluster IP")
    return found


def ask(address: str, timeout: float = 30.0) -> str:
    with urllib.request.urlopen(f"http://{address}/", timeout=timeout) as answer:
        return str(answer.read().decode().strip())


class Client(threading.Thread):
    """Somebody who keeps asking; counts answers by version, and failures."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.versions[ask(self.address).partition("version ")[2].partition(",")[0]] += 1
            except OSError as error:
                self.failures.append(str(error))
            time.sleep(0.005)

    def sees(self, version: str) -> None:
        """Return once this version has answered, or half a minute has passed."""
        deadline = time.monotonic() + 30
        while not self.versions[version] and time.monotonic() < deadline:
            time.sleep(0.05)

    def end(self) -> str:
        self._over.set()
        self.join()
        counts = ", ".join(f"{n} by {v}" for v, n in sorted(self.versions.items()))
        if self.failures:
            raise DemoFailed(
                f"{len(self.failures)} of {sum(self.versions.values())} requests failed: {self.failures[0]}"
            )
        return f"{sum(self.versions.values())} requests answered ({counts}), {len(self.failures)} failed"


def image(version: str) -> str:
    return ground(
        "image", "from-host", "--name", f"demo:{version}", "--add", f"{HERE / 'app.py'}:/app/app.py",
        "--env", f"VERSION={version}", "--cmd", "python3 -u /app/app.py", "python3", quiet=False,
    )  # fmt: skip


def deploy() -> str:
    manifests = Path(COUNTER, "demo.yaml")
    manifests.write_text((HERE / "demo.yaml").read_text().replace("COUNTER_DIRECTORY", COUNTER))
    shown = ground("kube", "apply", "-f", str(manifests), quiet=False)
    ground("kube", "rollout", "status", "deployment/web", "-n", "demo", "--timeout=60s", quiet=False)
    return shown + ground("kube", "get", "pods", "-n", "demo", "-o", "wide", quiet=False)


def answers() -> str:
    address = service_address()
    return "\n".join([f"GET http://{address}/ (the Service's cluster IP)"] + [ask(address) for _ in range(6)])


def update() -> str:
    client = Client(service_address())
    client.start()
    ground("kube", "set", "image", "deployment/web", "web=demo:v2", "-n", "demo", quiet=False)
    ground("kube", "rollout", "status", "deployment/web", "-n", "demo", "--timeout=60s", quiet=False)
    client.sees("v2")
    shown = client.end()
    if set(client.versions) != {"v1", "v2"}:
        raise DemoFailed(f"versions seen during the update: {sorted(client.versions)}, v1 and v2 expected")
    return shown


def heal() -> str:
    pods = json.loads(ground("kube", "get", "pods", "-n", "demo", "-o", "json"))["items"]
    stays = next(pod for pod in pods if "deletionTimestamp" not in pod["metadata"])  # the update may still end old ones
    victim = stays["metadata"]["name"]
    id = stays["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
    ground("kill", id, quiet=False)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = json.loads(ground("kube", "get", "pod", victim, "-n", "demo", "-o", "json"))["status"]
        one = status["containerStatuses"][0]
        if one["restartCount"] >= 1 and one["ready"]:
            return f"{victim}: container killed, restarted, ready again"
        time.sleep(0.05)
    raise DemoFailed(f"{victim} did not heal within 60 s")


def survive() -> str:
    client = Client(service_address())
    client.start()
    pid = json.loads(ground("status", "--format", "json"))["pid"]
    os.kill(pid, signal.SIGKILL)
    print(f"    $ kill -9 {pid}    (groundd)", flush=True)
    deadline = time.monotonic() + 60
    while True:
        try:
            ground("kube", "scale", "deployment/web", "--replicas=4", "-n", "demo")
            break
        except DemoFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    ground("kube", "rollout", "status", "deployment/web", "-n", "demo", "--timeout=60s", quiet=False)
    new = json.loads(ground("status", "--format", "json"))["pid"]
    return f"{client.end()} while the daemon was dead and started again as {new}\nscaled to 4 replicas afterwards"


def down() -> str:
    return ground("down", "--purge", quiet=False)


def left_on_the_host() -> set[str]:
    """Everything that carries this instance's name: mounts, links, tables, cgroups, processes, files."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    found = {f"mount {point}" for point in points if point.startswith((ROOT, RUN))}
    mark = instance_hash(ROOT)
    found |= {f"link {name}" for name in os.listdir("/sys/class/net") if mark in name}
    for base, folders, _ in os.walk("/sys/fs/cgroup"):
        found |= {f"cgroup {base}/{name}" for name in folders if mark in name}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(ROOT.encode() in w or RUN.encode() in w for w in words):
            found.add(f"process {pid}")
    found |= {f"file {path}" for path in (ROOT, RUN) if os.path.exists(path)}
    return found | tables()


def tables() -> set[str]:
    from groundplane.kernel.netlink.channel import NETFILTER, Channel
    from groundplane.kernel.nftables.listing import tables as listed

    with Channel(NETFILTER) as channel:
        return {f"nf_tables table {name}" for name in listed(channel) if instance_hash(ROOT) in name}


def main() -> int:
    if os.geteuid() != 0:
        print("demo: root is needed (namespaces, mounts, cgroups); run `sudo make demo`", file=sys.stderr)
        return 1
    begun = time.monotonic()
    try:
        if os.path.exists(ROOT):
            print("● A demo that did not end is taken down first", flush=True)
            ground("down", "--purge")
        shutil.rmtree(COUNTER, ignore_errors=True)
        os.makedirs(COUNTER, 0o755)
        step("The application's image, made from this host's Python", 5, lambda: image("v1"))
        step("A Kubernetes cluster on this machine", 2.5, lambda: ground("up", quiet=False))
        step("The application: Namespace, ConfigMap, Secret, Deployment of three, Service", 4, deploy)
        step("It answers through its Service", 1, answers)
        step("A second version's image", 2, lambda: image("v2"))
        step("Rolled out while a client keeps asking", 10, update)
        step("A container is killed and heals", 10, heal)
        step("The daemon is killed with -9: the application and the cluster go on", 10, survive)
        step("Everything is taken down", 15, down)
        if left := left_on_the_host():
            raise DemoFailed("left on the host: " + ", ".join(sorted(left)))
        total = Path(COUNTER, "counter").read_text()
        shutil.rmtree(COUNTER)
        print(f"\n● Nothing is left but the counter, which was the application's own: {total} requests")
        print(f"\nDone in {time.monotonic() - begun:.1f} s.")
        return 0
    except (DemoFailed, OSError, subprocess.TimeoutExpired) as error:
        print(
            f"\ndemo: {error}\n      the daemon's log: {ROOT}/log/groundd.log; the next demo cleans up",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
