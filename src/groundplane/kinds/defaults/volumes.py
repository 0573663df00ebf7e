"""Volume sources of pods and of PersistentVolumes."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

_MODE = 0o644


def pod_volume(volume: Object) -> None:
    """A pod's volume; without any source it is an emptyDir."""
    if len(volume) == 1 and "name" in volume:
        volume["emptyDir"] = {}
        return
    sources(volume)
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if name in volume:
            volume[name].setdefault("defaultMode", _MODE)
    if "downwardAPI" in volume:
        _field_versions(volume["downwardAPI"])
    for source in volume.get("projected", {}).get("sources") or ():
        if "downwardAPI" in source:
            _field_versions(source["downwardAPI"])
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        if "podCertificate" in source:
            source["podCertificate"].setdefault("maxExpirationSeconds", 86400)
    if "ephemeral" in volume and "volumeClaimTemplate" in volume["ephemeral"]:
        volume["ephemeral"]["volumeClaimTemplate"]["spec"].setdefault("volumeMode", "Filesystem")
    if "image" in volume and not volume["image"].get("pullPolicy"):
        from groundplane.kinds.defaults.pods import pull_policy  # late: pods imports this module

        volume["image"]["pullPolicy"] = pull_policy(volume["image"].get("reference", ""))


def sources(spec: Object) -> None:
    """The sources that pods' volumes and PersistentVolumes share."""
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")
    if "iscsi" in spec:
        _fill(spec["iscsi"], iscsiInterface="default")
    if "rbd" in spec:
        _fill(spec["rbd"], pool="rbd", user="admin", keyring="/etc/ceph/keyring")
    if "azureDisk" in spec:
        _fill(spec["azureDisk"], cachingMode="ReadWrite", kind="Shared", fsType="ext4")
        spec["azureDisk"].setdefault("readOnly", False)
    if "scaleIO" in spec:
        _fill(spec["scaleIO"], storageMode="ThinProvisioned", fsType="xfs")


def _fill(source: Object, **values: str) -> None:
    for name, value in values.items():
        if not source.get(name):
            source[name] = value


def _field_versions(source: Object) -> None:
    for item in source.get("items") or ():
        if "fieldRef" in item and not item["fieldRef"].get("apiVersion"):
            item["fieldRef"]["apiVersion"] = "v1"
