"""Volumes, claims and storage.k8s.io/v1."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.defaults import pods, volumes

Object = dict[str, Any]


def volume(obj: Object) -> None:
    spec = obj["spec"]
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Pending"
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    volume_spec(spec)


def volume_spec(spec: Object) -> None:
    """A PersistentVolumeSpec, also inside a VolumeAttachment."""
    spec.setdefault("volumeMode", "Filesystem")
    if "capacity" in spec:
        pods.resource_list(spec["capacity"])
    volumes.sources(spec)


def claim(obj: Object) -> None:
    if not obj["status"].get("phase"):
        obj["status"]["phase"] = "Pending"
    spec = obj["spec"]
    spec.setdefault("volumeMode", "Filesystem")
    pods.resource_lists(spec["resources"])


def storage_class(obj: Object) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def csi_driver(obj: Object) -> None:
    spec = obj["spec"]
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)


def volume_attachment(obj: Object) -> None:
    inline = obj["spec"]["source"].get("inlineVolumeSpec")
    if inline is not None:
        volume_spec(inline)
