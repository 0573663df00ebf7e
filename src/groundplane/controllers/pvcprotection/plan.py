"""Who uses a claim: a pure function over pods (pkg/controller/volume/pvcprotection, podUsesPVC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from groundplane.client.contract import Object


def claims_of(pod: Object) -> Iterator[str]:
    """The names of the claims that a pod mounts, its generic ephemeral volumes' included."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield str(volume["persistentVolumeClaim"].get("claimName", ""))
        elif "ephemeral" in volume:
            yield f"{pod['metadata']['name']}-{volume['name']}"


def in_use(claim: str, pods: Iterable[Object]) -> bool:
    """A pod that is on a node and has not ended holds its claims."""
    for pod in pods:
        ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if (pod.get("spec") or {}).get("nodeName") and not ended and claim in claims_of(pod):
            return True
    return False


def without_finalizer(obj: Object, finalizer: str) -> Object:
    """The object less one finalizer."""
    kept = [f for f in obj["metadata"].get("finalizers") or () if f != finalizer]
    return {**obj, "metadata": {**obj["metadata"], "finalizers": kept}}
