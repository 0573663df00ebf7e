"""`ground up`: engine, control plane and node on this machine; returns once pods can run."""

from __future__ import annotations

import sys
import time
from typing import Any

from groundplane.base.errors import GroundError
from groundplane.cli.api import Api
from groundplane.cli.options import Command, number, text
from groundplane.cli.place import Place

_READY_SECONDS = 30.0
COMMAND = Command(
    "up",
    "[OPTIONS]",
    "Bring the platform up on this machine: engine, Kubernetes control plane, node.",
    (
        text("roles", "", "list", "Comma-separated roles", "engine,control-plane,node"),
        number("api-port", "", "Port of the Kubernetes API (6443 where nothing else was chosen before)"),
        text("node-name", "", "name", "Name of this node (the host's name)"),
        text("node-ip", "", "address", "Address of this node (that of the default route)"),
        text("pod-cidr", "", "cidr", "Addresses of all pods (10.244.0.0/16)"),
        text("service-cidr", "", "cidr", "Addresses of Services (10.96.0.0/16)"),
        text("store", "", "url", "The cluster's store: sqlite:/path or etcd://host:port,… (sqlite below the root)"),
    ),
    maximum=0,
    note="What is up already stays as it is. Options are remembered until `ground down --purge`.",
)


def run(args: list[str], place: Place) -> int:
    parsed = COMMAND.parse(args)
    if parsed is None:
        return 0
    started = time.monotonic()
    names = ("node-name", "node-ip", "pod-cidr", "service-cidr", "store")
    settings: dict[str, object] = {n.replace("-", "_"): parsed.text(n) for n in names if n in parsed.given}
    if (port := parsed.number("api-port")) is not None:
        settings["api_port"] = port
    roles = [role for role in parsed.text("roles").split(",") if role]
    api = Api(place)
    api.json("POST", "/ground/roles", body={"roles": roles, "settings": settings})
    status = _await_ready(api) if "node" in roles else api.json("GET", "/ground/status")
    seconds = time.monotonic() - started
    sys.stdout.write(f"Groundplane is up: {', '.join(map(str, status['roles']))} ({seconds:.2f} s)\n")
    if status["api"]:
        sys.stdout.write(f"Kubernetes API: {status['api']}\n")
        sys.stdout.write("Next: ground kube get nodes   or   export KUBECONFIG=$(ground kubeconfig)\n")
    return 0


def _await_ready(api: Api) -> dict[str, Any]:
    """Until the node can run pods. Raises GroundError with the log's place."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        status: dict[str, Any] = api.json("GET", "/ground/status")
        if status["ready"]:
            return status
        if time.monotonic() > deadline:
            raise GroundError(f"the node was not ready after {_READY_SECONDS:.0f} s; the daemon's log: {status['log']}")
        time.sleep(0.01)
