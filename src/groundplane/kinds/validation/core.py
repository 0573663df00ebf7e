"""Configuration, namespaces, limits and quotas of the core group."""

from __future__ import annotations

import base64
from typing import Any

from groundplane.base.jsonyaml import DecodeError, loads
from groundplane.kinds import quantities
from groundplane.kinds.validation import amounts, meta, names
from groundplane.kinds.validation.errors import (
    Errors,
    duplicate,
    forbidden,
    invalid,
    required,
    too_long,
    unsupported,
)
from groundplane.kinds.validation.numbers import immutable

Object = dict[str, Any]

_LIMIT = 1024 * 1024
_HIDDEN = "<secret contents redacted>"


def config_map(obj: Object) -> Errors:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    errors: Errors = []
    for key in data:
        errors += [invalid(f"data[{key}]", key, message) for message in names.config_key(key)]
        if key in binary:
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in binary:
        errors += [invalid(f"binaryData[{key}]", key, message) for message in names.config_key(key)]
    if sum(len(v.encode()) for v in data.values()) + sum(_size(v) for v in binary.values()) > _LIMIT:
        errors.append(too_long("[]", _LIMIT))
    return errors


def _size(encoded: str | None) -> int:
    """Bytes behind base64 text."""
    return (len(encoded) // 4) * 3 - encoded.count("=", -2) if encoded else 0


def config_map_update(new: Object, old: Object) -> Errors:
    return _frozen(new, old, ("data", "binaryData")) + config_map(new)


def _frozen(new: Object, old: Object, fields: tuple[str, ...]) -> Errors:
    if not old.get("immutable"):
        return []
    text = "field is immutable when `immutable` is set"
    errors = [] if new.get("immutable") else [forbidden("immutable", text)]
    return errors + [forbidden(name, text) for name in fields if new.get(name) != old.get(name)]


_ACCOUNT = "kubernetes.io/service-account.name"
# Type → the keys it must have; of basic-auth one of two is enough.
_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def secret(obj: Object) -> Errors:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    errors: Errors = []
    for key in data:
        errors += [invalid(f"data[{key}]", key, message) for message in names.config_key(key)]
    if sum(_size(value) for value in data.values()) > _LIMIT:
        errors.append(too_long("data", _LIMIT))
    if kind == "kubernetes.io/service-account-token":
        if not (obj["metadata"].get("annotations") or {}).get(_ACCOUNT):
            errors.append(required(f"metadata.annotations[{_ACCOUNT}]"))
    elif kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        errors += [required("data[username]"), required("data[password]")]
    for key in _KEYS.get(kind, ()):
        if key not in data:
            errors.append(required(f"data[{key}]"))
        elif key.startswith(".docker"):
            errors += _json(data[key], f"data[{key}]")
    return errors


def _json(encoded: str | None, path: str) -> Errors:
    try:
        loads(base64.b64decode(encoded or ""))
    except DecodeError as error:
        return [invalid(path, _HIDDEN, str(error).removeprefix("not a JSON document: "))]
    return []


def secret_update(new: Object, old: Object) -> Errors:
    return immutable(new, old, "", "type") + _frozen(new, old, ("data",)) + secret(new)


def namespace(obj: Object) -> Errors:
    errors: Errors = []
    for index, value in enumerate(obj["spec"].get("finalizers") or ()):
        errors += meta.finalizer(value, "spec.finalizers", index)
    return errors


def service_account(obj: Object) -> Errors:
    errors: Errors = []
    for index, one in enumerate(obj.get("imagePullSecrets") or ()):
        if not one.get("name"):
            errors.append(required(f"imagePullSecrets[{index}].name"))
    return errors


# ── limits and quotas ────────────────────────────────────────────────────────────────────────────────────────────────


def limit_range(obj: Object) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, item in enumerate(obj["spec"].get("limits") or ()):
        where, kind = f"spec.limits[{index}]", item.get("type", "")
        errors += [invalid(f"{where}.type", kind, message) for message in names.qualified_name(kind)]
        if kind in seen:
            errors.append(duplicate(f"{where}.type", kind))
        seen.add(kind)
        if kind == "Pod":
            for name in ("default", "defaultRequest"):
                if item.get(name):
                    errors.append(forbidden(f"{where}.{name}", "may not be specified when `type` is 'Pod'"))
        if kind == "PersistentVolumeClaim" and "storage" not in {**item.get("min", {}), **item.get("max", {})}:
            text = "either minimum or maximum storage value is required, but neither was provided"
            errors.append(required(f"{where}.limits", text))
        for resource in dict.fromkeys(key for name in _BOUNDS for key in item.get(name) or ()):
            errors += _bounds(item, resource, where)
    return errors


_BOUNDS = ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")
_WORDS = {"min": "min", "max": "max", "default": "default", "defaultRequest": "default request"}
# (lower, upper, the field complained about, whose value is shown, the upper one's word where it is another)
_ORDER = (
    ("min", "max", "min", "min", ""),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", ""),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", ""),
    ("defaultRequest", "default", "defaultRequest", "defaultRequest", "default limit"),
    ("min", "default", "default", "min", ""),
    ("default", "max", "default", "max", ""),
)


def _bounds(item: Object, resource: str, path: str) -> Errors:
    errors: Errors = []
    found = {name: item[name][resource] for name in _BOUNDS if resource in (item.get(name) or {})}
    for low, high, field, value, word in _ORDER:
        if low in found and high in found and quantities.parse(found[low]).nano > quantities.parse(found[high]).nano:
            word = word or _WORDS[high]
            text = f"{_WORDS[low]} value {found[low]} is greater than {word} value {found[high]}"
            errors.append(invalid(f"{path}.{field}[{resource}]", found[value], text))
    ratio = found.get("maxLimitRequestRatio")
    if ratio is not None and quantities.parse(ratio).nano < 10**9:
        text = f"ratio {ratio} is less than 1"
        errors.append(invalid(f"{path}.maxLimitRequestRatio[{resource}]", ratio, text))
    return errors


_STANDARD_QUOTA = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
        "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
        "persistentvolumeclaims", "pods", "resourcequotas", "services", "replicationcontrollers", "secrets",
        "configmaps", "services.nodeports", "services.loadbalancers",
    }
)  # fmt: skip
_SCOPES = (
    "Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)  # fmt: skip


def resource_quota(obj: Object) -> Errors:
    errors: Errors = []
    for name, amount in (obj["spec"].get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        errors += [invalid(path, name, message) for message in names.qualified_name(name)]
        if (
            "/" not in name
            and name not in _STANDARD_QUOTA
            and not name.startswith(("hugepages-", "requests.hugepages-"))
        ):
            errors.append(invalid(path, name, "must be a standard resource for quota"))
        errors += amounts.amount_errors(name, amount, path)
    for scope in obj["spec"].get("scopes") or ():
        if scope not in _SCOPES:
            errors.append(unsupported("spec.scopes", scope, _SCOPES))
    return errors


def resource_quota_update(new: Object, old: Object) -> Errors:
    return resource_quota(new) + immutable(new["spec"], old["spec"], "spec", "scopes")


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def event(obj: Object, controller_field: str = "reportingComponent") -> Errors:
    """The rules of core/v1 (legacyValidateEvent): an event with an eventTime, as only newer writers set it, meets more.

    Events are judged in their stored form, which is core's.
    """
    namespace, about = obj["metadata"].get("namespace", ""), obj.get("involvedObject") or {}
    where, text = "involvedObject.namespace", "does not match event.namespace"
    of = about.get("namespace", "")
    if not obj.get("eventTime"):
        if (not of and namespace not in ("", "default")) or (of and of != namespace):
            return [invalid(where, of, text)]
        return []
    errors: Errors = []
    if not of and namespace not in ("default", "kube-system"):
        errors.append(invalid(where, of, text))
    controller = obj.get("reportingComponent", "")
    if not controller:
        errors.append(required(controller_field))
    errors += [invalid(controller_field, controller, m) for m in names.qualified_name(controller)]
    for name in ("reportingInstance", "action", "reason"):
        value = obj.get(name, "")
        if not value:
            errors.append(required(name))
        elif len(value.encode()) > 128:
            errors.append(invalid(name, "", "can have at most 128 characters"))
    if len(obj.get("message", "").encode()) > 1024:
        errors.append(invalid("message", "", "can have at most 1024 characters"))
    return errors


def new_event(obj: Object) -> Errors:
    """events.k8s.io/v1 asks for more, and leaves the older fields to older writers."""
    errors = event(obj, "reportingController") + _series(obj)
    if not obj.get("eventTime"):
        errors.append(required("eventTime"))
    if obj.get("type") not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
    source = obj.get("source") or {}
    for name, value in (
        ("firstTimestamp", obj.get("firstTimestamp")),
        ("lastTimestamp", obj.get("lastTimestamp")),
        ("count", obj.get("count")),
        ("source", source.get("component") or source.get("host")),
    ):
        if value:
            errors.append(invalid(name, "", "needs to be unset"))
    return errors


def new_event_update(new: Object, old: Object) -> Errors:
    """Only the series goes on."""
    errors = event(new, "reportingController")
    if new.get("series") != old.get("series"):
        errors += _series(new)
    errors += immutable(new, old, "", "involvedObject", "reason", "message", "source", "firstTimestamp")
    errors += immutable(new, old, "", "lastTimestamp", "count", "type", "eventTime", "action", "related")
    controllers = [{"reportingController": each.get("reportingComponent")} for each in (new, old)]
    errors += immutable(controllers[0], controllers[1], "", "reportingController")
    return errors + immutable(new, old, "", "reportingInstance")


def _series(obj: Object) -> Errors:
    series = obj.get("series")
    if series is None:
        return []
    errors: Errors = []
    if (series.get("count") or 0) < 2:
        errors.append(invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required("series.lastObservedTime"))
    return errors
