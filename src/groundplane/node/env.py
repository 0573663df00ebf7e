"""A container's environment: literals, ConfigMaps, Secrets, fields, limits and Services, with `$(NAME)` expanded.

Order and rules: kubelet's makeEnvironmentVariables and third_party/forked/golang/expansion; Services' variables:
pkg/kubelet/envvars.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from groundplane.base.errors import GroundError
from groundplane.kinds import quantities
from groundplane.node.views import ContainerSpec, Pod

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


class EnvError(GroundError):
    """A reference leads nowhere; the message is kubelet's, shown as CreateContainerConfigError."""


class Sources(Protocol):
    """Where ConfigMaps and Secrets come from. None where the object does not exist."""

    async def config_map(self, namespace: str, name: str) -> Mapping[str, Any] | None: ...

    async def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None: ...


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; `$$` is a dollar; an unknown name stays as it is written."""

    def one(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return "$"
        return values.get(name, match.group(0))

    return _REFERENCE.sub(one, text)


def expand_strictly(text: str, values: Mapping[str, str]) -> str:
    """As `expand`, for a subPathExpr: every name must have a value. Raises EnvError."""
    names = {match.group(1) for match in _REFERENCE.finditer(text)} - {None}
    if missing := sorted(name for name in names if not values.get(name)):
        raise EnvError(f"missing value for {', '.join(missing)}")  # container/helpers.go, ExpandContainerVolumeMounts
    return expand(text, values)


async def environment(
    pod: Pod,
    container: ContainerSpec,
    services: Iterable[Mapping[str, Any]],
    address: str,
    host_ip: str,
    sources: Sources,
) -> dict[str, str]:
    """All variables of the container. Raises EnvError, and what `sources` raise."""
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    service_env = service_variables(services, namespace, all_services=links)
    result: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for key, value in (await _env_from(namespace, source, sources)).items():
            result[prefix + key] = value
    known = {**service_env, **result}
    for variable in container.get("env") or ():
        name = variable["name"]
        if "valueFrom" in variable:
            found = await _value_from(pod, container, variable["valueFrom"], address, host_ip, sources)
            if found is None:
                continue
            value = found
        else:
            value = expand(variable.get("value") or "", known)
        result[name] = known[name] = value
    return {**service_env, **result}


async def _env_from(namespace: str, source: Mapping[str, Any], sources: Sources) -> dict[str, str]:
    if "configMapRef" in source:
        ref = source["configMapRef"]
        found = await sources.config_map(namespace, ref.get("name", ""))
        if found is None and not ref.get("optional"):
            raise EnvError(f'configmap "{ref.get("name", "")}" not found')
        return dict((found or {}).get("data") or {})
    if "secretRef" in source:
        ref = source["secretRef"]
        found = await sources.secret(namespace, ref.get("name", ""))
        if found is None and not ref.get("optional"):
            raise EnvError(f'secret "{ref.get("name", "")}" not found')
        return {k: _text(k, v) for k, v in ((found or {}).get("data") or {}).items()}
    return {}


def _text(key: str, encoded: str) -> str:
    """A Secret's value as a variable's: upstream's runtimes refuse what is no UTF-8, execve(2) ends at a NUL."""
    try:
        text = base64.b64decode(encoded).decode()
    except UnicodeDecodeError as error:
        raise EnvError(f"the Secret's value of {key} is no UTF-8 text, which a variable must be") from error
    if "\0" in text:
        raise EnvError(f"the Secret's value of {key} has a NUL, which a variable cannot have")
    return text


async def _value_from(
    pod: Pod, container: ContainerSpec, source: Mapping[str, Any], address: str, host_ip: str, sources: Sources
) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], address, host_ip)
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"])
    if "configMapKeyRef" in source:
        return await _key(pod, "configmap", source["configMapKeyRef"], sources)
    if "secretKeyRef" in source:
        return await _key(pod, "secret", source["secretKeyRef"], sources)
    raise EnvError(f"environment source {', '.join(source)} is not offered")


async def _key(pod: Pod, kind: str, ref: Mapping[str, Any], sources: Sources) -> str | None:
    namespace, name, key = pod["metadata"]["namespace"], ref.get("name", ""), ref["key"]
    found = await (sources.config_map if kind == "configmap" else sources.secret)(namespace, name)
    if found is None:
        if ref.get("optional"):
            return None
        raise EnvError(f'{kind} "{name}" not found')
    data = found.get("data") or {}
    if key not in data:
        if ref.get("optional"):
            return None
        title = "ConfigMap" if kind == "configmap" else "Secret"
        raise EnvError(f"couldn't find key {key} in {title} {namespace}/{name}")
    return _text(key, data[key]) if kind == "secret" else str(data[key])


def field_value(pod: Pod, path: str, address: str, host_ip: str) -> str:
    """The downward API's fields (pkg/fieldpath, and kubelet's podFieldSelectorRuntimeValue)."""
    meta, spec = pod["metadata"], pod["spec"]
    match = re.fullmatch(r"metadata\.(annotations|labels)\['(.*)'\]", path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.annotations", "metadata.labels"):
        return format_map(meta.get(path.partition(".")[2]) or {})
    plain = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": address,
        "status.podIPs": address,
    }
    if path not in plain:
        raise EnvError(f"unsupported fieldPath: {path}")
    return str(plain[path])


def format_map(values: Mapping[str, str]) -> str:
    """`key="value"` lines, sorted, as downward API volumes and variables show maps (fieldpath.FormatMap)."""
    return "\n".join(f'{key}="{"".join(map(_escaped, values[key]))}"' for key in sorted(values))


_ESCAPES = {c: f"\\{e}" for c, e in zip('"\\\a\b\f\n\r\t\v', '"\\abfnrtv', strict=True)}


def _escaped(char: str) -> str:
    """As Go's %q."""
    if char in _ESCAPES or char.isprintable():
        return _ESCAPES.get(char, char)
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def resource_value(pod: Pod, container: ContainerSpec, ref: Mapping[str, Any]) -> str:
    """requests.* and limits.* of a container, divided and rounded up; without a limit, the node's own size."""
    name = ref.get("containerName")
    if name and name != container.get("name"):
        spec = pod["spec"]
        found = [c for c in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())) if c["name"] == name]
        if not found:
            raise EnvError(f'container "{name}" not found')
        container = found[0]
    which, _, what = ref["resource"].partition(".")
    amounts = (container.get("resources") or {}).get(which) or {}
    text = amounts.get(what)
    if text is None:
        text = _node_size(what) if which == "limits" else "0"
    divisor = quantities.parse(ref.get("divisor") or "1").nano or 10**9
    return str(-(-quantities.parse(text).nano // divisor))


def _node_size(what: str) -> str:
    if what == "cpu":
        return str(os.cpu_count() or 1)
    if what == "memory":
        return str(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return "0"


def service_variables(services: Iterable[Mapping[str, Any]], namespace: str, *, all_services: bool) -> dict[str, str]:
    """`NAME_SERVICE_HOST`, `…_PORT` and docker-links variables of the namespace's Services, and always kubernetes'."""
    result: dict[str, str] = {}
    for service in sorted(services, key=lambda s: str(s["metadata"]["name"])):
        meta, spec = service["metadata"], service.get("spec") or {}
        address = spec.get("clusterIP")
        master = meta.get("namespace") == "default" and meta["name"] == "kubernetes"
        if not address or address == "None" or not (master or (all_services and meta.get("namespace") == namespace)):
            continue
        result.update(_variables_of(meta["name"], address, spec.get("ports") or ()))
    return result


def _variables_of(name: str, address: str, ports: Any) -> dict[str, str]:
    prefix = name.upper().replace("-", "_")
    result = {f"{prefix}_SERVICE_HOST": address}
    for index, port in enumerate(ports):
        number, protocol = str(port["port"]), str(port.get("protocol", "TCP"))
        url = f"{protocol.lower()}://{address}:{number}"
        if index == 0:
            result[f"{prefix}_SERVICE_PORT"] = number
            result[f"{prefix}_PORT"] = url
        if port.get("name"):
            result[f"{prefix}_SERVICE_PORT_{str(port['name']).upper().replace('-', '_')}"] = number
        link = f"{prefix}_PORT_{number}_{protocol}"
        result.update({link: url, f"{link}_PROTO": protocol.lower(), f"{link}_PORT": number, f"{link}_ADDR": address})
    return result
