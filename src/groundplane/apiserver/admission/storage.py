"""Volumes and ingresses: finalizers while in use, and the default classes (plugin/pkg/admission/storage, …/network)."""

from __future__ import annotations

from groundplane.apiserver.admission.contract import Attempt, Base, Operation
from groundplane.apiserver.cache.stored import Object, Stored

_FINALIZERS = {
    ("", "persistentvolumes"): "kubernetes.io/pv-protection",
    ("", "persistentvolumeclaims"): "kubernetes.io/pvc-protection",
}
_DEFAULT_STORAGE = "storageclass.kubernetes.io/is-default-class"
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS = "ingressclass.kubernetes.io/is-default-class"
_OLD_INGRESS = "kubernetes.io/ingress.class"


class StorageObjectInUseProtection(Base):
    """Volumes and claims are not removed under a pod's feet."""

    name = "StorageObjectInUseProtection"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is Operation.CREATE and not subresource and (group, resource) in _FINALIZERS

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        finalizer, meta = _FINALIZERS[attempt.group, attempt.resource], obj["metadata"]
        given = meta.get("finalizers") or []
        if finalizer in given:
            return obj
        return {**obj, "metadata": {**meta, "finalizers": [*given, finalizer]}}


class DefaultStorageClass(Base):
    """A claim that names no class gets the newest default one."""

    name = "DefaultStorageClass"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is Operation.CREATE and (group, resource, subresource) == ("", "persistentvolumeclaims", "")

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        spec, notes = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
        if "storageClassName" in spec or _BETA_CLASS in notes:
            return obj
        found = _marked(attempt.machine.below("storage.k8s.io", "storageclasses"), _DEFAULT_STORAGE)
        if found is None:
            return obj
        return {**obj, "spec": {**spec, "storageClassName": found["metadata"]["name"]}}


class DefaultIngressClass(Base):
    """An ingress that names no class gets the default one; two of them are nobody's."""

    name = "DefaultIngressClass"

    def handles(self, operation: Operation, group: str, resource: str, subresource: str) -> bool:
        return operation is Operation.CREATE and (group, resource, subresource) == (
            "networking.k8s.io",
            "ingresses",
            "",
        )

    async def mutate(self, attempt: Attempt, obj: Object) -> Object:
        spec, notes = obj.get("spec") or {}, obj["metadata"].get("annotations") or {}
        if spec.get("ingressClassName") is not None or _OLD_INGRESS in notes:
            return obj
        found = _marked(attempt.machine.below("networking.k8s.io", "ingressclasses"), _DEFAULT_INGRESS)
        if found is None:
            return obj
        return {**obj, "spec": {**spec, "ingressClassName": found["metadata"]["name"]}}


def _marked(classes: list[Stored], annotation: str) -> Object | None:
    """The class marked as default; the newest, then the first by name, where there are several."""
    marked = [c.object for c in classes if (c.meta.get("annotations") or {}).get(annotation) == "true"]
    if not marked:
        return None
    newest = max(c["metadata"]["creationTimestamp"] for c in marked)
    same = [c for c in marked if c["metadata"]["creationTimestamp"] == newest]
    return min(same, key=lambda c: str(c["metadata"]["name"]))
