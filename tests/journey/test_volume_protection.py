"""A deleted claim or volume goes when nobody uses it any more, not before (storage object in use protection)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.kubeletless import cluster

from groundplane.client.contract import Object
from groundplane.client.objects import is_deleting
from groundplane.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, SERVICE_ACCOUNTS


def claim(name: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def user_of(name: str) -> Object:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    container = {"name": "c", "image": "i:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default"}, "spec": spec}


def volume() -> Object:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": spec}


def test_a_claim_stays_while_a_pod_uses_it(run: Any, state_root: Path) -> None:
    async def work() -> None:
        async with cluster(state_root) as found:
            user, watcher = found.user, found.watcher
            claims, pods = watcher.cache(PERSISTENT_VOLUME_CLAIMS), watcher.cache(PODS)
            volumes, accounts = watcher.cache(PERSISTENT_VOLUMES), watcher.cache(SERVICE_ACCOUNTS)
            for name in ("used", "free"):
                await user.of(PERSISTENT_VOLUME_CLAIMS).create(claim(name))
            await user.of(PERSISTENT_VOLUMES).create(volume())
            await watcher.until(lambda: accounts.cache.get("default", "default") is not None)
            await user.pods.create(user_of("used"))
            await watcher.until(lambda: any(p["spec"].get("nodeName") for p in pods.cache))
            for name in ("used", "free"):
                await user.of(PERSISTENT_VOLUME_CLAIMS).delete(name, "default")
            await user.of(PERSISTENT_VOLUMES).delete("v")
            await watcher.until(lambda: claims.cache.get("free", "default") is None and not len(volumes.cache))
            held = claims.cache.get("used", "default")
            assert held is not None
            assert is_deleting(held)
            await user.pods.delete("p", "default", grace_period=0)
            await watcher.until(lambda: claims.cache.get("used", "default") is None)

    run(work())
