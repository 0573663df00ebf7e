"""Which address belongs to which sandbox: one small file per lease, named after the address.

A file is written before the link is made and removed after it is gone, so that a kill between two steps leaves a lease
too many, never one too few; `sweep` of the pod network frees those whose sandbox is unknown. The files are not
fsynced: they must survive our own death, and a crash of the machine ends every sandbox that they speak of.

An address that was given back is used again only after all others: a client that still talks to the old pod, or a
connection that is still tracked, should not meet a new one there.
"""

from __future__ import annotations

import os
from collections import deque
from ipaddress import IPv4Address, IPv4Network

from groundplane.engine.sandboxes.contract import NetworkError


class NoFreeAddress(NetworkError):
    """The pod range is used up."""

    retry = True


class Leases:
    """Leases below one directory; one owner, used by one thread at a time."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._held: dict[str, str] = {}  # sandbox id → address
        self._free: deque[str] = deque()
        self._range: IPv4Network | None = None

    def load(self) -> None:
        """Read what an earlier life has given out. A file without its content was never answered, and is removed."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._held.clear()
        for name in sorted(os.listdir(self._directory)):
            path = os.path.join(self._directory, name)
            if name == "last":
                continue
            with open(path) as file:
                sandbox = file.read()
            if sandbox:
                self._held[sandbox] = name
            else:
                os.unlink(path)

    def configure(self, pod_range: IPv4Network) -> None:
        """Give out addresses of this range from now on, beginning behind the one given last in an earlier life."""
        if pod_range == self._range:
            return
        self._range = pod_range
        held = set(self._held.values())
        last = self._last()
        addresses = list(pod_range.hosts())
        later = [a for a in addresses if last is not None and a > last]
        ordered = later + addresses[: len(addresses) - len(later)]
        self._free = deque(str(a) for a in ordered if str(a) not in held)

    def _last(self) -> IPv4Address | None:
        try:
            with open(os.path.join(self._directory, "last")) as file:
                return IPv4Address(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def take(self, sandbox: str) -> str:
        """The sandbox's address: the one it has, else a free one. Raises NoFreeAddress."""
        if sandbox in self._held:
            return self._held[sandbox]
        if not self._free:
            raise NoFreeAddress(f"no free pod address in {self._range}, {len(self._held)} are in use: remove pods")
        address = self._free.popleft()
        with open(os.path.join(self._directory, address), "w") as file:
            file.write(sandbox)
        with open(os.path.join(self._directory, "last"), "w") as file:
            file.write(address)
        self._held[sandbox] = address
        return address

    def release(self, sandbox: str) -> None:
        """Give the address back; nothing happens where there is none."""
        address = self._held.pop(sandbox, None)
        if address is None:
            return
        os.unlink(os.path.join(self._directory, address))
        if self._range is not None and IPv4Address(address) in self._range:
            self._free.append(address)

    def address(self, sandbox: str) -> str | None:
        return self._held.get(sandbox)

    def all(self) -> dict[str, str]:
        """sandbox id → address."""
        return dict(self._held)
