"""This machine as a Node object: what it is, what it has, that it is alive (pkg/kubelet/kubelet_node_status.go).

The lease is renewed every 10 s, a quarter of the time after which the node would be given up; the status is written
when it changes, and every 5 minutes.
"""

from __future__ import annotations

import os
import platform
from typing import Any

from groundplane.base.clock import Clock, rfc3339, rfc3339_micro
from groundplane.base.log import Log
from groundplane.client.client import Client
from groundplane.client.contract import STRATEGIC_PATCH, ApiError, ConnectionLost, Object
from groundplane.node.contract import Place
from groundplane.node.resources import this_host

_log = Log("node.registration")
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 300.0
MAX_PODS = 110
_KUBELET_VERSION = "v1.36.0"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LEASE_NAMESPACE = "kube-node-lease"


def architecture() -> str:
    """GOARCH's name of this machine's architecture."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def labels(place: Place) -> dict[str, str]:
    arch = architecture()
    return {
        "beta.kubernetes.io/arch": arch,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": arch,
        "kubernetes.io/hostname": place.name,
        "kubernetes.io/os": "linux",
    }


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _os_image() -> str:
    for line in _read("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return "Linux"


def node_info(version: str) -> Object:
    return {
        "machineID": _read("/etc/machine-id"),
        "systemUUID": _read("/sys/class/dmi/id/product_uuid") or _read("/etc/machine-id"),
        "bootID": _read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": f"groundplane://{version}",
        "kubeletVersion": f"{_KUBELET_VERSION}+groundplane",
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": architecture(),
    }


def capacity(root: str) -> dict[str, str]:
    disk = os.statvfs(root)
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{this_host().memory // 1024}Ki",
        "pods": str(MAX_PODS),
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
    }


def conditions(old: list[Object], *, network_ready: bool, now: float) -> list[Object]:
    """The four conditions of a healthy node; Ready waits for the pod network."""
    before = {c["type"]: c for c in old}
    if network_ready:
        ready = ("True", "KubeletReady", "kubelet is posting ready status")
    else:
        words = (
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message: no pod CIDR"
        )
        ready = ("False", "KubeletNotReady", words)
    wanted = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "Ready": ready,
    }
    result = []
    for type_, (status, reason, message) in wanted.items():
        known = before.get(type_) or {}
        moved = rfc3339(now) if known.get("status") != status else known.get("lastTransitionTime") or rfc3339(now)
        condition = {"type": type_, "status": status, "reason": reason, "message": message}
        result.append({**condition, "lastHeartbeatTime": rfc3339(now), "lastTransitionTime": moved})
    return result


class Registration:
    """Keeps this node's Node object and lease. `images` lists (names, bytes) for status.images."""

    def __init__(self, client: Client, clock: Clock, place: Place, version: str) -> None:
        self._client = client
        self._clock = clock
        self._place = place
        self._version = version
        self._lease: Object | None = None

    async def register(self) -> Object:
        """Create the Node object, or take over the one that is there; not ready until `report` says so."""
        place = self._place
        node: Object = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": place.name, "labels": labels(place)},
            "spec": {},
            "status": self._status({}, network_ready=False),
        }
        try:
            return await self._client.nodes.create(node, field_manager="kubelet")
        except ApiError as error:
            if not error.is_already_exists:
                raise
        return await self._client.nodes.get(place.name)

    def _status(self, old: Object, *, network_ready: bool) -> Object:
        place = self._place
        amounts = capacity(place.root)
        extended = {k: v for k, v in (old.get("capacity") or {}).items() if "/" in k}  # patched in by administrators
        return {
            "capacity": {**extended, **amounts},
            "allocatable": {**extended, **amounts},
            "conditions": conditions(old.get("conditions") or [], network_ready=network_ready, now=self._clock.time()),
            "addresses": [
                {"type": "InternalIP", "address": place.address},
                {"type": "Hostname", "address": place.name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": place.kubelet_port}},
            "nodeInfo": node_info(self._version),
        }

    async def report(self, node: Object, images: list[dict[str, Any]], *, network_ready: bool) -> Object:
        """Write the node's status and labels; the new object."""
        status = self._status(node.get("status") or {}, network_ready=network_ready)
        status["images"] = images
        name = self._place.name
        missing = {k: v for k, v in labels(self._place).items() if (node["metadata"].get("labels") or {}).get(k) != v}
        if missing:
            await self._client.nodes.patch(name, {"metadata": {"labels": missing}}, field_manager="kubelet")
        return await self._client.nodes.patch(
            name, {"status": status}, type=STRATEGIC_PATCH, subresource="status", field_manager="kubelet"
        )

    async def keep_lease(self, owner: Object) -> None:
        """Renew the lease for ever."""
        while True:
            try:
                await self._renew(owner)
                wait = RENEW_SECONDS
            except (ApiError, ConnectionLost) as error:
                _log.warning("lease not renewed", error=str(error))
                self._lease, wait = None, 1.0
            await self._clock.sleep(wait)

    async def _renew(self, owner: Object) -> None:
        spec = {
            "holderIdentity": self._place.name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": rfc3339_micro(self._clock.time()),
        }
        leases = self._client.leases
        if self._lease is None:
            try:
                self._lease = await leases.get(self._place.name, _LEASE_NAMESPACE)
            except ApiError as error:
                if not error.is_not_found:
                    raise
                self._lease = await leases.create(self._new_lease(owner, spec), _LEASE_NAMESPACE)
                return
        self._lease = await leases.update({**self._lease, "spec": {**self._lease["spec"], **spec}})

    def _new_lease(self, owner: Object, spec: Object) -> Object:
        meta = owner["metadata"]
        reference = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"]}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._place.name, "namespace": _LEASE_NAMESPACE, "ownerReferences": [reference]},
            "spec": spec,
        }
