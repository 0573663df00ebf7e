"""Volumes of pods, and the sources that PersistentVolumes share with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from groundplane.kinds import quantities
from groundplane.kinds.validation import names, references
from groundplane.kinds.validation.errors import Errors, duplicate, forbidden, invalid, required, unsupported

Object = dict[str, Any]
Check = Callable[[Object, str], Errors]

_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATHS = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip


def pod_volumes(volumes: Iterable[Object], path: str) -> tuple[dict[str, Object], Errors]:
    """The volumes by name, and the complaints about them."""
    errors: Errors = []
    found: dict[str, Object] = {}
    for index, volume in enumerate(volumes):
        where = f"{path}[{index}]"
        own = one_source(volume, where, POD_SOURCES)
        name = volume.get("name", "")
        if not name:
            own.append(required(f"{where}.name"))
        else:
            own += [invalid(f"{where}.name", name, message) for message in names.label(name)]
        if name in found:
            own.append(duplicate(f"{where}.name", name))
        if name and not own:
            found[name] = volume
        errors += own
    return found, errors


def one_source(holder: Object, path: str, sources: dict[str, Check]) -> Errors:
    """Exactly one source, and a valid one."""
    errors: Errors = []
    seen = 0
    for kind, check in sources.items():
        if kind not in holder:
            continue
        if seen:
            errors.append(forbidden(f"{path}.{kind}", "may not specify more than 1 volume type"))
        else:
            errors += check(holder[kind], f"{path}.{kind}")
        seen += 1
    if not seen:
        errors.append(required(path, "must specify a volume type"))
    return errors


def _needs(*fields: str) -> Check:
    """The check of a source of which these fields are required."""

    def check(source: Object, path: str) -> Errors:
        return [required(f"{path}.{name}") for name in fields if not source.get(name)]

    return check


def _empty_dir(source: Object, path: str) -> Errors:
    if "sizeLimit" in source and quantities.parse(source["sizeLimit"]).nano < 0:
        return [forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def host_path(source: Object, path: str) -> Errors:
    value = source.get("path", "")
    if not value:
        return [required(f"{path}.path")]
    errors = _backsteps(value, f"{path}.path")
    if (kind := source.get("type")) is not None and kind not in _HOST_PATHS:
        errors.append(unsupported(f"{path}.type", kind, _HOST_PATHS))
    return errors


def _backsteps(value: str, path: str) -> Errors:
    return [invalid(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def _mode(source: Object, name: str, path: str) -> Errors:
    mode = source.get(name)
    if mode is not None and not 0 <= mode <= 0o777:
        return [invalid(f"{path}.{name}", mode, _MODE_TEXT)]
    return []


def relative_path(value: str, path: str) -> Errors:
    """A file's path inside a volume (validateLocalNonReservedPath)."""
    if value.startswith("/"):
        return [invalid(path, value, "must be a relative path")]
    errors = _backsteps(value, path)
    if value.startswith(".."):
        errors.append(invalid(path, value, "must not start with '..'"))
    return errors


def _items(source: Object, path: str) -> Errors:
    errors: Errors = []
    for index, item in enumerate(source.get("items") or ()):
        where = f"{path}.items[{index}]"
        if not item.get("key"):
            errors.append(required(f"{where}.key"))
        if not item.get("path"):
            errors.append(required(f"{where}.path"))
        else:
            errors += relative_path(item["path"], f"{where}.path")
        errors += _mode(item, "mode", where)
    return errors


def _secret(source: Object, path: str) -> Errors:
    errors = [] if source.get("secretName") else [required(f"{path}.secretName")]
    return errors + _mode(source, "defaultMode", path) + _items(source, path)


def _config_map(source: Object, path: str) -> Errors:
    errors = [] if source.get("name") else [required(f"{path}.name")]
    return errors + _mode(source, "defaultMode", path) + _items(source, path)


def _downward(source: Object, path: str) -> Errors:
    errors = _mode(source, "defaultMode", path)
    for item in source.get("items") or ():  # upstream names no index here
        errors += _downward_item(item, path)
    return errors


def _downward_item(item: Object, path: str) -> Errors:
    errors: Errors = []
    if not item.get("path"):
        errors.append(required(f"{path}.path"))
    else:
        errors += relative_path(item["path"], f"{path}.path")
    if "fieldRef" in item:
        errors += references.pod_field(item["fieldRef"], f"{path}.fieldRef", references.VOLUME_FIELDS)
        if "resourceFieldRef" in item:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid(path, "resource", text))
    elif "resourceFieldRef" in item:
        errors += references.container_field(item["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return errors + _mode(item, "mode", path)


def _claim(source: Object, path: str) -> Errors:
    return [] if source.get("claimName") else [required(f"{path}.claimName")]


def nfs(source: Object, path: str) -> Errors:
    errors = _needs("server", "path")(source, path)
    if source.get("path") and not source["path"].startswith("/"):
        errors.append(invalid(f"{path}.path", source["path"], "must be an absolute path"))
    return errors


def local(source: Object, path: str) -> Errors:
    value = source.get("path", "")
    return _backsteps(value, f"{path}.path") if value else [required(f"{path}.path")]


def csi(source: Object, path: str) -> Errors:
    driver = source.get("driver", "")
    if not driver:
        return [required(f"{path}.driver")]
    errors = [invalid(f"{path}.driver", driver, message) for message in names.subdomain(driver.lower())]
    return (
        errors if len(driver) <= 63 else [*errors, invalid(f"{path}.driver", driver, "must be no more than 63 bytes")]
    )


def persistent_csi(source: Object, path: str) -> Errors:
    return csi(source, path) + _needs("volumeHandle")(source, path)


def _ephemeral(source: Object, path: str) -> Errors:
    template = source.get("volumeClaimTemplate")
    if template is None:
        return [required(f"{path}.volumeClaimTemplate")]
    from groundplane.kinds.validation.storage import claim_spec  # late: storage imports this module

    return claim_spec(template["spec"], f"{path}.volumeClaimTemplate.spec")


_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate")


def _projected(source: Object, path: str) -> Errors:
    errors = _mode(source, "defaultMode", path)
    taken: set[str] = set()
    for index, projection in enumerate(source.get("sources") or ()):
        where = f"{path}.sources[{index}]"
        kinds = [kind for kind in _PROJECTIONS if kind in projection]
        if not kinds:
            errors.append(required(where, "must specify exactly one volume type"))
        for kind in kinds[1:]:
            errors.append(forbidden(f"{where}.{kind}", "may not specify more than 1 volume type"))
        for kind in kinds[:1]:
            errors += _projection(kind, projection[kind], f"{where}.{kind}")
            for target in _paths(kind, projection[kind]):
                if target in taken:
                    errors.append(invalid(path, target, "conflicting duplicate paths"))
                taken.add(target)
    return errors


def _paths(kind: str, projection: Object) -> list[str]:
    if kind in ("serviceAccountToken", "clusterTrustBundle"):
        return [projection.get("path", "")]
    return [item.get("path", "") for item in projection.get("items") or ()]


def _projection(kind: str, projection: Object, path: str) -> Errors:
    match kind:
        case "secret" | "configMap":
            errors = [] if projection.get("name") else [required(f"{path}.name")]
            return errors + _items(projection, path)
        case "downwardAPI":
            return [error for item in projection.get("items") or () for error in _downward_item(item, path)]
        case "serviceAccountToken":
            return _token(projection, path)
        case "podCertificate":
            return _needs("signerName", "keyType")(projection, path)
    return [] if projection.get("path") else [required(f"{path}.path")]


def _token(projection: Object, path: str) -> Errors:
    errors: Errors = []
    seconds = projection.get("expirationSeconds", 0)
    if seconds < 600:
        errors.append(invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"))
    if seconds > 1 << 32:
        errors.append(
            invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
        )
    value = projection.get("path", "")
    return errors + (relative_path(value, f"{path}.path") if value else [required(f"{path}.path")])


def _image(source: Object, path: str) -> Errors:
    errors = _needs("reference")(source, path)
    if source.get("pullPolicy") not in ("Always", "IfNotPresent", "Never"):
        allowed = ("Always", "IfNotPresent", "Never")
        errors.append(unsupported(f"{path}.pullPolicy", source.get("pullPolicy", ""), allowed))
    return errors


# Sources that pods and PersistentVolumes both have, and of which only what is missing is said.
_REMOTE: dict[str, Check] = {
    "gcePersistentDisk": _needs("pdName"),
    "awsElasticBlockStore": _needs("volumeID"),
    "iscsi": _needs("targetPortal", "iqn"),
    "glusterfs": _needs("endpoints", "path"),
    "rbd": _needs("monitors", "image"),
    "cephfs": _needs("monitors"),
    "cinder": _needs("volumeID"),
    "quobyte": _needs("registry", "volume"),
    "vsphereVolume": _needs("volumePath"),
    "azureDisk": _needs("diskName", "diskURI"),
    "azureFile": _needs("secretName", "shareName"),
    "portworxVolume": _needs("volumeID"),
    "photonPersistentDisk": _needs("pdID"),
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "flexVolume": _needs("driver"),
    "fc": _needs(),
    "flocker": _needs(),
    "storageos": _needs(),
}
# In the order of upstream's checks: of two sources the later one is the one too many.
POD_SOURCES: dict[str, Check] = {
    "emptyDir": _empty_dir,
    "hostPath": host_path,
    "gitRepo": _needs("repository"),
    **_REMOTE,
    "secret": _secret,
    "nfs": nfs,
    "persistentVolumeClaim": _claim,
    "configMap": _config_map,
    "downwardAPI": _downward,
    "projected": _projected,
    "csi": csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
PERSISTENT_SOURCES: dict[str, Check] = {
    "hostPath": host_path,
    **_REMOTE,
    "nfs": nfs,
    "local": local,
    "csi": persistent_csi,
}
