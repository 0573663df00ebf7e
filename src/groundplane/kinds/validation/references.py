"""Where values of environment variables and files come from: ConfigMaps, Secrets, the pod's own fields."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from groundplane.kinds.validation import names
from groundplane.kinds.validation.errors import Errors, invalid, required, unsupported

Object = dict[str, Any]

_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
# What pkg/apis/core/pods: ConvertDownwardAPIFieldLabel knows, whether or not it may be used here.
_POD_FIELDS = frozenset(
    (*_ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host")
)
_SUBSCRIPT = re.compile(r"(metadata\.(?:annotations|labels))\['(.*)'\]")
_RESOURCES = ("cpu", "ephemeral-storage", "memory")
_CONTAINER_RESOURCES = tuple(f"{kind}.{name}" for kind in ("limits", "requests") for name in _RESOURCES)
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def environment(variables: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    for index, variable in enumerate(variables):
        where = f"{path}[{index}]"
        name = variable.get("name", "")
        if not name:
            errors.append(required(f"{where}.name"))
        else:
            errors += [invalid(f"{where}.name", name, message) for message in names.env_name(name)]
        source = variable.get("valueFrom")
        if source is not None:
            errors += _value_from(variable, source, f"{where}.valueFrom")
    return errors


def _value_from(variable: Object, source: Object, path: str) -> Errors:
    errors: Errors = []
    found = [kind for kind in _SOURCES if kind in source]
    for kind in found:
        where = f"{path}.{kind}"
        match kind:
            case "fieldRef":
                errors += pod_field(source[kind], where, _ENV_FIELDS)
            case "resourceFieldRef":
                errors += container_field(source[kind], where, volume=False)
            case "fileKeyRef":
                errors += _file_key(source[kind], where)
            case _:
                errors += key_of(source[kind], where)
    if not found:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(invalid(path, "", text))
    elif variable.get("value"):
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif len(found) > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def environment_from(sources: Iterable[Object], path: str) -> Errors:
    errors: Errors = []
    for index, source in enumerate(sources):
        where = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            errors += [invalid(f"{where}.prefix", prefix, message) for message in names.env_name(prefix)]
        found = [kind for kind in ("configMapRef", "secretRef") if kind in source]
        for kind in found:
            errors += object_name(source[kind].get("name", ""), f"{where}.{kind}.name")
        if not found:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(found) > 1:
            errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def object_name(name: str, path: str) -> Errors:
    """The required name of a ConfigMap, Secret or the like."""
    if not name:
        return [required(path)]
    return [invalid(path, name, message) for message in names.subdomain(name)]


def key_of(selector: Object, path: str) -> Errors:
    """One key of a ConfigMap or Secret."""
    errors = object_name(selector.get("name", ""), f"{path}.name")
    key = selector.get("key", "")
    if not key:
        return [*errors, required(f"{path}.key")]
    return errors + [invalid(f"{path}.key", key, message) for message in names.config_key(key)]


def _file_key(selector: Object, path: str) -> Errors:
    return [required(f"{path}.{name}") for name in ("volumeName", "path", "key") if not selector.get(name)]


def pod_field(selector: Object, path: str, allowed: tuple[str, ...]) -> Errors:
    """A field of the pod itself."""
    if not selector.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    field = selector.get("fieldPath", "")
    if not field:
        return [required(f"{path}.fieldPath")]
    where = f"{path}.fieldPath"
    if match := _SUBSCRIPT.fullmatch(field):
        whole, key = match.groups()
        check = names.qualified_name(key if whole.endswith("labels") else key.lower())
        return [invalid(where, field, message) for message in check]
    if field not in _POD_FIELDS:
        text = f"error converting fieldPath: field label not supported: {field}"
        return [invalid(where, field, text)]
    return [] if field in allowed else [unsupported(where, field, sorted(allowed))]


def container_field(selector: Object, path: str, *, volume: bool) -> Errors:
    """A limit or request of a container."""
    if volume and not selector.get("containerName"):
        return [required(f"{path}.containerName")]
    resource = selector.get("resource", "")
    if not resource:
        return [required(f"{path}.resource")]
    if resource.startswith(("requests.hugepages-", "limits.hugepages-")):
        return []
    if resource not in _CONTAINER_RESOURCES:
        return [unsupported(f"{path}.resource", resource, _CONTAINER_RESOURCES)]
    return _divisor(resource, selector.get("divisor") or "0", f"{path}.divisor")


_DIVISORS = {
    "cpu": ("0", "1", "1m"),
    "memory": ("0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"),
}


def _divisor(resource: str, divisor: str, path: str) -> Errors:
    kind = resource.partition(".")[2]
    if divisor in _DIVISORS["cpu" if kind == "cpu" else "memory"]:
        return []
    text = "only divisor's values 1m and 1 are supported with the cpu resource"
    if kind != "cpu":
        sizes = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei"
        what = "memory" if kind == "memory" else "local ephemeral storage"
        text = f"only divisor's values {sizes} are supported with the {what} resource"
    return [invalid(path, resource, text)]
