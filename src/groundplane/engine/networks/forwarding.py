"""What this host must allow so that packets of pods are forwarded: ip_forward, and dockerd's filter.

`net.ipv4.ip_forward` is switched on where it is off, and its old value is kept in a file first, so that tear-down puts
it back, also after a kill, unless dockerd needs it by then. dockerd sets the policy of the host's FORWARD chain to drop
and keeps the chain DOCKER-USER for others' rules: an accept in a table of our own would not help, because a packet that
one base chain drops is gone, whatever the others say (nft(8)). So two rules with our name go there, and leave with us.
"""

from __future__ import annotations

import os

from groundplane.base import files
from groundplane.base.jsonyaml import dumps, loads
from groundplane.base.log import Log
from groundplane.kernel.netlink.channel import Channel
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import listing
from groundplane.kernel.nftables import objects as o
from groundplane.kernel.nftables.transaction import Transaction

_log = Log("engine.networks")
_R0 = x.R[0]
_DOCKER_TABLE, _DOCKER_CHAIN = "filter", "DOCKER-USER"


class Sysctls:
    """Settings of the host that we changed, with the values they had; `record` is the file that remembers them."""

    def __init__(self, record: str) -> None:
        self._record = record

    def set(self, name: str, value: str) -> None:
        """Write `value` unless it is there already; the old one is recorded before, the first one for ever."""
        path = _path(name)
        with open(path) as file:
            old = file.read().strip()
        if old == value:
            return
        known = self._known()
        if name not in known:
            files.replace(self._record, dumps(known | {name: old}), durable=True)
        with open(path, "w") as file:
            file.write(value)

    def restore(self) -> None:
        """Put the old values back, and forget them."""
        for name, value in self._known().items():
            with open(_path(name), "w") as file:
                file.write(value)
        self.forget()

    def forget(self) -> None:
        """Leave everything as it is, for good."""
        if os.path.exists(self._record):
            os.unlink(self._record)

    def _known(self) -> dict[str, str]:
        try:
            with open(self._record, "rb") as file:
                return dict(loads(file.read()))
        except FileNotFoundError:
            return {}


def _path(name: str) -> str:
    return "/proc/sys/" + name.replace(".", "/")


def allow_beside_docker(channel: Channel, instance: str, links: str) -> None:
    """Accept what comes from and goes to pod links in dockerd's chain for others, where that chain exists."""
    if _DOCKER_CHAIN not in listing.chains(channel, _DOCKER_TABLE):
        return
    tag = _tag(instance)
    if any(rule.comment == tag for rule in listing.rules(channel, _DOCKER_TABLE, _DOCKER_CHAIN)):
        return
    name = x.cmp(_R0, links.encode())
    Transaction(
        o.add_rule(_DOCKER_TABLE, _DOCKER_CHAIN, load, name, x.counter(), x.accept(), comment=tag, first=True)
        for load in (x.iifname(_R0), x.oifname(_R0))
    ).commit(channel)
    _log.info("dockerd filters forwarding: accepting pod traffic in DOCKER-USER", tag=tag)


def docker_forwards(channel: Channel) -> bool:
    """Whether dockerd relies on forwarding now: it came after us, found it switched on, and would miss it."""
    return _DOCKER_CHAIN in listing.chains(channel, _DOCKER_TABLE)


def forget_docker(channel: Channel, instance: str) -> None:
    """Remove our rules from dockerd's chain."""
    if _DOCKER_CHAIN not in listing.chains(channel, _DOCKER_TABLE):
        return
    Transaction(
        o.delete_rule(_DOCKER_TABLE, _DOCKER_CHAIN, rule.handle)
        for rule in listing.rules(channel, _DOCKER_TABLE, _DOCKER_CHAIN)
        if rule.comment == _tag(instance)
    ).commit(channel)


def _tag(instance: str) -> str:
    return f"groundplane {instance}"
