"""The files that name hosts inside a pod: /etc/hosts, /etc/resolv.conf, /etc/hostname (kubelet's network/dns)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from groundplane.engine.contract import Mount
from groundplane.node.views import ContainerSpec, Pod

HOST_RESOLV_CONF = "/etc/resolv.conf"
UPLINK_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
_STUB = "127.0.0.53"


def write(directory: str, pod: Pod, host_name: str, address: str, *, dns_address: str, domain: str) -> None:
    """Bring the three files of the pod's directory up to date: in place, because containers have them mounted."""
    for name, text in {
        "etc-hosts": _hosts(pod, host_name, address, domain),
        "resolv.conf": _resolv_conf(pod, dns_address, domain),
        "hostname": host_name + "\n",
    }.items():
        path = os.path.join(directory, name)
        if _host_file(path) == text:
            continue
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), "w") as file:
            file.write(text)


def mounts(directory: str, container: ContainerSpec) -> list[Mount]:
    """Binds of the files, but where the container mounts something of its own there."""
    own = {m["mountPath"].rstrip("/") for m in container.get("volumeMounts") or ()}
    places = {"etc-hosts": "/etc/hosts", "resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname"}
    return [Mount(place, os.path.join(directory, name)) for name, place in places.items() if place not in own]


def _hosts(pod: Pod, host_name: str, address: str, domain: str) -> str:
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        text = "# Kubernetes-managed hosts file (host network).\n" + _host_file("/etc/hosts")
    else:
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
        ]
        lines += [
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
        ]
        full = (
            f"{host_name}.{spec['subdomain']}.{pod['metadata']['namespace']}.svc.{domain}"
            if spec.get("subdomain")
            else ""
        )
        if address:
            lines.append("\t".join(word for word in (address, full, host_name) if word))
        text = "\n".join(lines) + "\n"
    aliases = [f"{a['ip']}\t" + "\t".join(a.get("hostnames") or ()) for a in spec.get("hostAliases") or ()]
    if aliases:
        text += "\n# Entries added by HostAliases.\n" + "\n".join(aliases) + "\n"
    return text


def _host_file(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _resolv_conf(pod: Pod, dns_address: str, domain: str) -> str:
    spec: Mapping[str, Any] = pod["spec"]
    namespace = pod["metadata"]["namespace"]
    policy = spec.get("dnsPolicy", "ClusterFirst")
    servers, searches, options = _parse(_host_file(HOST_RESOLV_CONF))
    if servers == [_STUB] and (uplink := _host_file(UPLINK_RESOLV_CONF)):
        servers, searches, options = _parse(uplink)  # systemd-resolved(8): its stub answers on the host's loopback only
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        servers = [dns_address]
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
        options = ["ndots:5"]
    elif policy == "None":
        servers, searches, options = [], [], []
    more = spec.get("dnsConfig") or {}
    servers += [s for s in more.get("nameservers") or () if s not in servers]
    searches += [s for s in more.get("searches") or () if s not in searches]
    for option in more.get("options") or ():
        options = [o for o in options if o.partition(":")[0] != option["name"]]
        options.append(option["name"] + (f":{option['value']}" if option.get("value") else ""))
    lines = [f"nameserver {s}" for s in servers]
    if searches:
        lines.insert(0, "search " + " ".join(searches))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def _parse(text: str) -> tuple[list[str], list[str], list[str]]:
    """resolv.conf(5): nameservers, the last search list, options."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = [word.removesuffix(".") for word in words[1:] if word != "."]
        elif words[0] == "options":
            options += words[1:]
    return servers, searches, options
