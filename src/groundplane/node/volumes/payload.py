"""What configMap, secret, downwardAPI and projected volumes contain: paths to bytes and modes, without touching a disk.

kubelet: pkg/volume/{configmap,secret,downwardapi,projected}; the messages are theirs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from groundplane.base.errors import GroundError
from groundplane.node.env import Sources, field_value, resource_value
from groundplane.node.views import Pod, app_containers, init_containers

DEFAULT_MODE = 0o644


class VolumeError(GroundError):
    """A volume cannot be set up yet; shown as the event FailedMount and tried again."""

    retry = True


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    mode: int
    owner: int | None = None  # None: root


Payload = dict[str, File]


class Tokens(Protocol):
    """Where service account tokens come from."""

    async def token(self, pod: Pod, audience: str, seconds: int) -> str: ...


async def payload(
    pod: Pod, volume: Mapping[str, Any], address: str, host_ip: str, sources: Sources, tokens: Tokens
) -> Payload | None:
    """The files of a volume of these kinds, None for other kinds. Raises VolumeError and what the sources raise."""
    if "configMap" in volume:
        source = volume["configMap"]
        return await _config_map(pod, source, _mode(source), sources)
    if "secret" in volume:
        source = {**volume["secret"], "name": volume["secret"].get("secretName", "")}
        return await _secret(pod, source, _mode(source), sources)
    if "downwardAPI" in volume:
        source = volume["downwardAPI"]
        return _downward(pod, source.get("items") or (), _mode(source), address, host_ip)
    if "projected" in volume:
        return await _projected(pod, volume["projected"], address, host_ip, sources, tokens)
    return None


def _mode(source: Mapping[str, Any]) -> int:
    mode = source.get("defaultMode")
    return DEFAULT_MODE if mode is None else int(mode)


async def _projected(
    pod: Pod, projected: Mapping[str, Any], address: str, host_ip: str, sources: Sources, tokens: Tokens
) -> Payload:
    mode = _mode(projected)
    files: Payload = {}
    for source in projected.get("sources") or ():
        if "configMap" in source:
            files.update(await _config_map(pod, source["configMap"], mode, sources))
        elif "secret" in source:
            files.update(await _secret(pod, source["secret"], mode, sources))
        elif "downwardAPI" in source:
            files.update(_downward(pod, source["downwardAPI"].get("items") or (), mode, address, host_ip))
        elif "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            token = await tokens.token(pod, wanted.get("audience", ""), int(wanted.get("expirationSeconds") or 3600))
            # projected.go: the containers' one user owns it, alone or with the pod's group; else as the volume says.
            owner = _one_user(pod)
            group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
            files[wanted["path"]] = File(token.encode(), mode if owner is None and group is None else 0o600, owner)
        else:
            raise VolumeError(f"projected volume source {', '.join(source)} is not offered")
    return files


def _one_user(pod: Pod) -> int | None:
    """The one user that all containers run as, where they do."""
    default = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {
        (c.get("securityContext") or {}).get("runAsUser", default)
        for c in (*app_containers(pod), *init_containers(pod))
    }
    return users.pop() if len(users) == 1 else None


async def _config_map(pod: Pod, source: Mapping[str, Any], mode: int, sources: Sources) -> Payload:
    name, optional = source.get("name", ""), bool(source.get("optional"))
    found = await sources.config_map(pod["metadata"]["namespace"], name)
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    data = {k: str(v).encode() for k, v in (found.get("data") or {}).items()}
    data |= {k: base64.b64decode(v) for k, v in (found.get("binaryData") or {}).items()}
    return _chosen("configmap references non-existent config", data, source.get("items") or (), mode, optional=optional)


async def _secret(pod: Pod, source: Mapping[str, Any], mode: int, sources: Sources) -> Payload:
    name, optional = source.get("name", ""), bool(source.get("optional"))
    found = await sources.secret(pod["metadata"]["namespace"], name)
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'secret "{name}" not found')
    data = {k: base64.b64decode(v) for k, v in (found.get("data") or {}).items()}
    return _chosen("references non-existent secret", data, source.get("items") or (), mode, optional=optional)


def _chosen(
    what: str, data: Mapping[str, bytes], items: Iterable[Mapping[str, Any]], mode: int, *, optional: bool
) -> Payload:
    """All keys under their own names, or the listed ones at their paths."""
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: Payload = {}
    for item in items:
        if item["key"] not in data:
            if optional:
                continue
            raise VolumeError(f"{what} key: {item['key']}")
        files[item["path"]] = File(data[item["key"]], mode if item.get("mode") is None else int(item["mode"]))
    return files


def _downward(pod: Pod, items: Iterable[Mapping[str, Any]], mode: int, address: str, host_ip: str) -> Payload:
    files: Payload = {}
    for item in items:
        if "fieldRef" in item:
            text = field_value(pod, item["fieldRef"]["fieldPath"], address, host_ip)
        else:
            text = resource_value(pod, {}, item["resourceFieldRef"])
        files[item["path"]] = File(text.encode(), mode if item.get("mode") is None else int(item["mode"]))
    return files
