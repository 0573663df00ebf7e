"""What this host offers Groundplane, by trying: kernel, rights, addresses and ports, neighbours, libraries.

examine(settings) ──► [(chapter, [Finding, …]), …]      reads and tries, and leaves nothing behind
"""

from __future__ import annotations

import errno
import os
import platform
import socket
from collections.abc import Iterator
from importlib import metadata

from groundplane.base.errors import GroundError
from groundplane.base.settings import Settings
from groundplane.daemon import doctor_kernel
from groundplane.daemon.findings import Finding, degraded, missing, works
from groundplane.daemon.places import node_address, node_name
from groundplane.daemon.starting import answers
from groundplane.dataplane import probe
from groundplane.dataplane.dataplane import dns_ip
from groundplane.kernel import caps
from groundplane.serve import listeners

_NEEDED_CAPS = (
    "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_CHOWN",
    "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL",
)  # fmt: skip
_WELCOME_CAPS = {
    "CAP_SYS_RESOURCE": "containers cannot raise limits above ours; guaranteed pods have our own OOM score",
    "CAP_SYS_PTRACE": "namespaces of other users' processes cannot be looked into",
    "CAP_AUDIT_WRITE": "containers cannot be given CAP_AUDIT_WRITE",
}
_LIBRARIES = ("aiohttp", "orjson", "PyYAML", "cryptography")
_FASTER = {"isal": "gzip is slower", "uvloop": "the daemon is slower: pip install 'groundplane[fast]'"}
_IP_FREEBIND = 15  # ip(7); not in Python's socket module before 3.14
_MINIMUM = (3, 11)


def examine(settings: Settings) -> list[tuple[str, list[Finding]]]:
    """Every chapter with its findings. Changes nothing."""
    return [
        ("Rights", list(_rights())),
        ("Kernel", list(doctor_kernel.findings()) if os.geteuid() == 0 else []),
        ("Addresses", list(_addresses(settings))),
        ("Neighbours", list(_neighbours(settings))),
        ("Python", list(_python())),
    ]


def _rights() -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield missing("root", "not root, so neither rights nor kernel can be tried", "run it with sudo")
        return
    yield works("root")
    had = set(caps.names(caps.current()["CapEff"]))
    lacking = [name for name in _NEEDED_CAPS if name not in had]
    if lacking:
        yield missing("capabilities", f"without {', '.join(lacking)}", "give them to this shell's container or service")
    else:
        yield works("capabilities", "all that are needed")
    for name, without in _WELCOME_CAPS.items():
        if name not in had:
            yield degraded(name, without)


def _addresses(settings: Settings) -> Iterator[Finding]:
    try:
        yield works("node", f"{node_name(settings)} at {node_address(settings)}")
    except GroundError as error:
        yield missing("node", str(error), "set GROUND_NODE_NAME or GROUND_NODE_IP")
    ours = answers(settings)
    if not ours and os.geteuid() == 0:
        if problem := probe.range_problem(settings.service_cidr, settings.pod_cidr):
            yield missing("ranges", problem, "choose others: ground up --pod-cidr … --service-cidr …")
        else:
            yield works("ranges", f"pods {settings.pod_cidr}, Services {settings.service_cidr}")
    for what, port, how in (
        ("Kubernetes API", settings.api_port, "ground up --api-port N"),
        ("kubelet", settings.kubelet_port, "GROUND_KUBELET_PORT=N"),
    ):
        yield _port(what, port, how, ours=ours)
    if not ours:
        yield _dns(dns_ip(settings.service_cidr))


def _port(what: str, port: int, how: str, *, ours: bool) -> Finding:
    name = f"port {port}"
    try:
        listeners.tcp("0.0.0.0", port).close()
    except GroundError as error:
        if ours:
            return works(name, f"{what}; in use, this instance runs")
        return missing(name, f"{what}: {error}", f"stop that program, or {how}")
    return works(name, f"{what}; free")


def _dns(address: str) -> Finding:
    """Whoever listens on port 53 of every address would get the cluster's questions."""
    name = "port 53"
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe_socket:
            try:
                probe_socket.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                if kind == socket.SOCK_STREAM:  # of datagrams it would let two programs share the port
                    probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe_socket.bind((address, 53))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    owner = listeners.owner_of(53)
                    by = f" by {owner}" if owner else ""
                    return missing(name, f"in use on every address{by}", "let that program listen on its own address")
                return missing(name, f"{address}: {error.strerror}", "run as root")
    return works(name, f"cluster DNS on {address}; free")


def _neighbours(settings: Settings) -> Iterator[Finding]:
    if answers(settings):
        yield works("this instance", f"runs; its socket is {settings.engine_socket}")
    else:
        yield works("this instance", "does not run")
    others = [where for where in _spawners() if os.path.realpath(where) != os.path.realpath(settings.run)]
    if others:
        yield degraded(
            "other instances",
            f"running in {', '.join(others)}; only one of them can have a cluster in this network namespace",
        )
    if os.path.exists("/run/docker.sock") or os.path.exists("/var/run/docker.sock"):
        yield works("Docker", "its socket is there; both can run side by side")


def _spawners() -> list[str]:
    """The run directories of all spawners on this host, from their command lines."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = [word.decode(errors="replace") for word in file.read().split(b"\0")]
        except OSError:
            continue  # it has ended
        if "--run" in words[:-1] and any("groundplane.runtime.resident" in word for word in words):
            found.add(words[words.index("--run") + 1])
    return sorted(found)


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if tuple(int(word) for word in platform.python_version_tuple()[:2]) < _MINIMUM:
        yield missing("Python", version, "use Python 3.11 or newer")
    else:
        yield works("Python", version)
    for name in _LIBRARIES:
        found = _version(name)
        yield works(name, found) if found else missing(name, "not installed", f"pip install {name}")
    for name, without in _FASTER.items():
        found = _version(name)
        yield works(name, found) if found else degraded(name, f"not installed: {without}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
