"""`/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container, generated beside its record and bound in."""

from __future__ import annotations

from pathlib import Path

from groundplane.engine.contract import ContainerSpec, Mount

_HOSTS = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def generate(directory: Path, spec: ContainerSpec, hostname: str) -> list[Mount]:
    """Write the files into `directory` and return their mounts.

    With the host's network, hosts and resolv.conf are copies of the host's, as docker makes them. In a sandbox both
    are the pod's, and the node brings them as mounts of its own; only the host name is ours.
    """
    files = {"hostname": f"{hostname}\n"}
    if not spec.network.startswith("sandbox:"):
        host_hosts = Path("/etc/hosts")
        own_network = spec.network != "host"
        files["hosts"] = _HOSTS if own_network or not host_hosts.exists() else host_hosts.read_text()
        resolv = Path("/etc/resolv.conf")
        files["resolv.conf"] = resolv.read_text() if resolv.exists() else ""
    mounts = []
    taken = {mount.destination for mount in spec.mounts}
    for name, text in files.items():
        if f"/etc/{name}" in taken:
            continue
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)
        mounts.append(Mount(f"/etc/{name}", str(path)))
    return mounts
