"""`ground apiserver`, `controllers`, `scheduler`, `node`: one role in the foreground, as a process of its own."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

from groundplane.base.errors import UsageError
from groundplane.cli.options import Command, number, text
from groundplane.cli.place import Place

_KUBECONFIG = text("kubeconfig", "", "file", "The cluster to serve, and as whom")
APISERVER = Command(
    "apiserver",
    "--root DIR [OPTIONS]",
    "Run a Kubernetes API server alone; writes DIR/admin.kubeconfig once it answers.",
    (
        text("root", "", "dir", "Directory of certificates, kubeconfig and store"),
        number("port", "", "Port of the API", 6443),
        text("host", "", "address", "Address to listen on", "0.0.0.0"),
        text("store", "", "url", "memory:, sqlite:/path or etcd://host:port,… (sqlite below the root)"),
        text("service-cidr", "", "cidr", "Addresses of Services (10.96.0.0/16)"),
    ),
    maximum=0,
)
CONTROLLERS = Command("controllers", "--kubeconfig FILE", "Run the controllers alone.", (_KUBECONFIG,), maximum=0)
SCHEDULER = Command("scheduler", "--kubeconfig FILE", "Run the scheduler alone.", (_KUBECONFIG,), maximum=0)

NODE = Command(
    "node",
    "--kubeconfig FILE [OPTIONS]",
    "Run a node alone: engine, kubelet and data plane of a cluster elsewhere. Its pods go on when it ends.",
    (
        _KUBECONFIG,
        text("root", "", "dir", "Directory of the node's state (as `ground --root`)"),
        text("run", "", "dir", "Directory of its sockets (as `ground --run`)"),
        text("node-name", "", "name", "Name of this node (the host's name)"),
        text("node-ip", "", "address", "Address of this node (that of the default route)"),
        text("pod-cidr", "", "cidr", "Addresses of all pods (10.244.0.0/16)"),
        text("service-cidr", "", "cidr", "Addresses of Services (10.96.0.0/16)"),
        number("port", "", "Port of the kubelet's API", 10250),
        text("tls-cert-file", "", "file", "The kubelet's server certificate, signed by the cluster's authority"),
        text("tls-private-key-file", "", "file", "Its key"),
    ),
    maximum=0,
)


def apiserver(args: list[str], place: Place) -> int:
    parsed = APISERVER.parse(args)
    if parsed is None:
        return 0
    from groundplane.base import log
    from groundplane.base.settings import check
    from groundplane.daemon import alone

    root = parsed.text("root")
    if not root:
        raise UsageError("apiserver: --root DIR is needed: certificates, kubeconfig and store go there")
    usual, port = place.settings(), parsed.number("port") or 0
    service_cidr = parsed.text("service-cidr") or usual.service_cidr
    wish = replace(usual, root=os.path.abspath(root), api_port=port or usual.api_port, service_cidr=service_cidr)
    settings = replace(check(wish), api_port=port)  # 0: any that is free
    log.configure(settings.log_level)
    store = parsed.text("store") or settings.store or f"sqlite:{settings.root}/store/cluster.db"
    alone.run_apiserver(settings, store, parsed.text("host"), _ready)
    return 0


def _ready(words: str, what: str = "API server") -> None:
    sys.stdout.write(f"{what} ready: {words}\n")
    sys.stdout.flush()


def controllers(args: list[str], place: Place) -> int:
    return _loops(CONTROLLERS, args, place, scheduler=False)


def scheduler(args: list[str], place: Place) -> int:
    return _loops(SCHEDULER, args, place, scheduler=True)


def _loops(command: Command, args: list[str], place: Place, *, scheduler: bool) -> int:
    parsed = command.parse(args)
    if parsed is None:
        return 0
    from groundplane.base import log
    from groundplane.daemon import alone

    if not parsed.text("kubeconfig"):
        raise UsageError(f"{command.name}: --kubeconfig FILE is needed")
    settings = place.settings()
    log.configure(settings.log_level)
    alone.run_loops(settings, parsed.text("kubeconfig"), scheduler=scheduler, controllers=not scheduler)
    return 0


def node(args: list[str], place: Place) -> int:
    parsed = NODE.parse(args)
    if parsed is None:
        return 0
    from groundplane.base import log
    from groundplane.base.settings import check
    from groundplane.daemon import alone
    from groundplane.serve.pki import Pair

    if not parsed.text("kubeconfig"):
        raise UsageError("node: --kubeconfig FILE is needed")
    certificate, key = parsed.text("tls-cert-file"), parsed.text("tls-private-key-file")
    if bool(certificate) != bool(key):
        raise UsageError("node: --tls-cert-file and --tls-private-key-file go together")
    names = ("root", "run", "node-name", "node-ip", "pod-cidr", "service-cidr")
    given: dict[str, Any] = {name.replace("-", "_"): parsed.text(name) for name in names if parsed.text(name)}
    given |= {name: os.path.abspath(given[name]) for name in ("root", "run") if name in given}
    settings = check(replace(place.settings(), kubelet_port=parsed.number("port") or 10250, **given))
    log.configure(settings.log_level)
    pair = Pair(certificate, key) if certificate else None
    alone.run_node(settings, parsed.text("kubeconfig"), pair, lambda words: _ready(words, "Node"))
    return 0
