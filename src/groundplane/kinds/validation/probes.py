"""Probes and life-cycle hooks."""

from __future__ import annotations

from typing import Any

from groundplane.kinds.validation import names
from groundplane.kinds.validation.errors import Errors, forbidden, invalid, required, unsupported

Object = dict[str, Any]

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")
_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def all_of(container: Object, path: str, grace: int) -> Errors:
    """The three probes of one container."""
    errors: Errors = []
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name not in container:
            continue
        probe, where = container[name], f"{path}.{name}"
        errors += _probe(probe, where, grace)
        if name != "readinessProbe" and probe.get("successThreshold", 0) != 1:
            errors.append(invalid(f"{where}.successThreshold", probe.get("successThreshold", 0), "must be 1"))
        if name == "readinessProbe" and "terminationGracePeriodSeconds" in probe:
            value = probe["terminationGracePeriodSeconds"]
            text = "must not be set for readinessProbes"
            errors.append(invalid(f"{where}.terminationGracePeriodSeconds", value, text))
    return errors


def lifecycle(container: Object, path: str, grace: int) -> Errors:
    errors: Errors = []
    for name in ("postStart", "preStop"):
        hook = (container.get("lifecycle") or {}).get(name)
        if hook is not None:
            errors += _handler(hook, f"{path}.lifecycle.{name}", _HOOKS, grace)
    signal = (container.get("lifecycle") or {}).get("stopSignal")
    if signal is not None and not str(signal).startswith("SIG"):
        errors.append(unsupported(f"{path}.lifecycle.stopSignal", signal, ("SIGTERM", "SIGKILL", "SIGINT")))
    return errors


def _probe(probe: Object, path: str, grace: int) -> Errors:
    errors = _handler(probe, path, _HANDLERS, grace)
    for name in _PROBE_NUMBERS:
        if probe.get(name, 0) < 0:
            errors.append(invalid(f"{path}.{name}", probe[name], "must be greater than or equal to 0"))
    value = probe.get("terminationGracePeriodSeconds")
    if value is not None and value <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", value, "must be greater than 0"))
    return errors


def _handler(handler: Object, path: str, kinds: tuple[str, ...], grace: int) -> Errors:
    errors: Errors = []
    found = 0
    for kind in kinds:
        action = handler.get(kind)
        if action is None:
            continue
        where = f"{path}.{kind}"
        if found:
            errors.append(forbidden(where, "may not specify more than 1 handler type"))
        else:
            errors += _action(kind, action, where, grace)
        found += 1
    if not found:
        errors.append(required(path, "must specify a handler type"))
    return errors


def _action(kind: str, action: Object, path: str, grace: int) -> Errors:
    match kind:
        case "exec":
            return [] if action.get("command") else [required(f"{path}.command")]
        case "httpGet":
            return _http(action, path)
        case "tcpSocket":
            return port_or_name(action.get("port"), f"{path}.port")
        case "grpc":
            port = action.get("port", 0)
            return [invalid(f"{path}.port", port, message) for message in names.port_number(port)]
    seconds = action.get("seconds", 0)
    if 0 <= seconds <= grace:
        return []
    text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [invalid(path, seconds, text)]


def _http(action: Object, path: str) -> Errors:
    errors: Errors = []
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    errors += port_or_name(action.get("port"), f"{path}.port")
    if action.get("scheme") not in ("HTTP", "HTTPS"):
        errors.append(unsupported(f"{path}.scheme", action.get("scheme", ""), ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        errors += [invalid(f"{path}.httpHeaders", name, message) for message in names.http_header(name)]
    return errors


def port_or_name(port: Any, path: str) -> Errors:
    """A number, or the name of one of the container's ports."""
    if isinstance(port, int):
        return [invalid(path, port, message) for message in names.port_number(port)]
    return [invalid(path, port, message) for message in names.port_name(port or "")]
