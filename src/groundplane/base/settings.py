"""Settings: where state lives and what this instance may use. One value each, from defaults, file, environment, flags.

Precedence, lowest first: the defaults below, `/etc/groundplane/config.yaml` (or `$GROUND_CONFIG`), `GROUND_*`
variables, command-line flags (`replace`). The value is frozen and passed down; nothing reads the environment later.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from groundplane.base.errors import UsageError

CONFIG_FILE = "/etc/groundplane/config.yaml"
_LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one instance; the environment variable of `root` is `GROUND_ROOT`, and so on."""

    root: str = "/var/lib/groundplane"  # durable state
    run: str = "/run/groundplane"  # volatile state: sockets, pids, bundles
    node_name: str = ""  # default: the host's name in lower case
    cluster_domain: str = "cluster.local"
    pod_cidr: str = "10.244.0.0/16"  # one /24 of it per node
    service_cidr: str = "10.96.0.0/16"
    node_port_range: str = "30000-32767"
    api_port: int = 6443
    kubelet_port: int = 10250
    store: str = ""  # where the cluster's truth is: sqlite:/path, etcd://host:port,…; default: sqlite below `root`
    node_ip: str = ""  # default: the address of the default route's link
    cgroup_parent: str = "groundplane"  # below each hierarchy's own root
    log_level: str = "info"

    @property
    def engine_socket(self) -> str:
        """The Docker Engine API, the engine's one door."""
        return f"{self.run}/ground.sock"

    @property
    def spawner_socket(self) -> str:
        return f"{self.run}/spawner.sock"


def load(environ: dict[str, str] | None = None, **flags: Any) -> Settings:
    """Settings of this process: defaults, file, environment, then `flags` that are not None. Raises UsageError."""
    env = os.environ if environ is None else environ
    known = {f.name: f for f in fields(Settings)}
    values: dict[str, Any] = {}
    path = env.get("GROUND_CONFIG", CONFIG_FILE)
    if os.path.exists(path):
        values.update(_from_file(path, set(known)))
    for name in known:
        if (text := env.get(f"GROUND_{name.upper()}")) is not None:
            values[name] = text
    values.update({k: v for k, v in flags.items() if v is not None})
    for name, value in values.items():
        if known[name].type == "int":
            try:
                values[name] = int(value)
            except (TypeError, ValueError):
                raise UsageError(f"setting {name}: a whole number expected, {value!r} found") from None
        elif not isinstance(value, str):
            raise UsageError(f"setting {name}: a text expected, {value!r} found")
    found = replace(Settings(), **values)
    return check(replace(found, root=_directory("root", found.root), run=_directory("run", found.run)))


def _directory(name: str, path: str) -> str:
    """Absolute, because a later command, the daemon and its spawner may stand elsewhere, and without symbolic links,
    because the kernel names mounts without them. An empty one, as of an unset shell variable, would be where we stand.
    """
    if not path:
        raise UsageError(f"setting {name}: it is empty; name a directory")
    return os.path.realpath(path)


def check(settings: Settings) -> Settings:
    """The same settings, once each value can be one. Raises UsageError naming the setting."""
    for name in ("api_port", "kubelet_port"):
        if not 0 < getattr(settings, name) < 65536:
            raise UsageError(f"setting {name}: a port from 1 to 65535 expected, {getattr(settings, name)} found")
    if settings.log_level not in _LOG_LEVELS:
        raise UsageError(f"setting log_level: {', '.join(_LOG_LEVELS)} expected, {settings.log_level!r} found")
    low, dash, high = settings.node_port_range.partition("-")
    if not (dash and low.isdecimal() and high.isdecimal() and 0 < int(low) <= int(high) < 65536):
        raise UsageError(f"setting node_port_range: 30000-32767 or alike expected, {settings.node_port_range!r} found")
    given, usual = settings, Settings()
    if (given.pod_cidr, given.service_cidr, given.node_ip) != (usual.pod_cidr, usual.service_cidr, usual.node_ip):
        _check_addresses(settings)
    return settings


def _check_addresses(settings: Settings) -> None:
    from ipaddress import IPv4Address, IPv4Network  # late: 3 ms, and most instances keep the defaults

    ranges = []
    for name, longest in (("pod_cidr", 24), ("service_cidr", 28)):  # a /24 of it per node; DNS is the tenth of Services
        value = getattr(settings, name)
        try:
            ranges.append(IPv4Network(value))
        except ValueError as error:
            raise UsageError(
                f"setting {name}: an IPv4 range expected, as {getattr(Settings(), name)}: {error}"
            ) from None
        if ranges[-1].prefixlen > longest:
            raise UsageError(f"setting {name}: {value} is too small; it needs at least a /{longest}")
    if ranges[0].overlaps(ranges[1]):
        raise UsageError(f"settings pod_cidr and service_cidr: {ranges[0]} and {ranges[1]} overlap; choose others")
    try:
        IPv4Address(settings.node_ip or "127.0.0.1")
    except ValueError:
        raise UsageError(f"setting node_ip: an IPv4 address expected, {settings.node_ip!r} found") from None


def _from_file(path: str, known: set[str]) -> dict[str, Any]:
    from groundplane.base.jsonyaml import DecodeError, yaml_loads  # late: most processes have no settings file

    try:
        with open(path, "rb") as f:
            document = yaml_loads(f.read()) or {}
    except (OSError, DecodeError) as error:
        raise UsageError(f"settings file {path}: {error}") from error
    if not isinstance(document, dict):
        raise UsageError(f"settings file {path}: a mapping expected")
    if unknown := sorted(set(document) - known):
        raise UsageError(f"settings file {path}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return document
