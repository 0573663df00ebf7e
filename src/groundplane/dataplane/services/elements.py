"""Plans as elements of the table's maps, and the difference between two states of them. Pure."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from groundplane.dataplane.services import shapes
from groundplane.dataplane.services.plan import ANY_NODE, Backend, Front, ServicePlan, Shape
from groundplane.kernel.nftables import expressions as x
from groundplane.kernel.nftables import objects as o

SERVICES, NODEPORTS, BACKENDS = "services", "nodeports", "backends"

Key = tuple[str, bytes]
Elements = dict[Key, bytes]
"""(set, key) → data: a chain's name for the verdict maps, address and port for `backends`."""


class Change(NamedTuple):
    """What to delete and to add; a changed element is in both, because nf_tables does not overwrite."""

    gone: list[tuple[Key, bytes]]
    new: list[tuple[Key, bytes]]

    def __bool__(self) -> bool:
        return bool(self.gone or self.new)


def render(plan: ServicePlan) -> Elements:
    found: Elements = {}
    for front, shape in plan.shapes.items():
        found[_shape_key(front)] = shapes.name(shape).encode()
    for front, slots in plan.backends.items():
        head = front_bytes(front)
        for (address, port), slot in slots.items():
            data = o.key_bytes(socket.inet_aton(address), port.to_bytes(2, "big"))
            found[BACKENDS, head + x.host32(slot)] = data
    return found


def _shape_key(front: Front) -> Key:
    if front.address == ANY_NODE:
        return NODEPORTS, o.key_bytes(bytes((front.protocol,)), front.port.to_bytes(2, "big"))
    return SERVICES, front_bytes(front)


def front_bytes(front: Front) -> bytes:
    """The first three fields of a key: 12 bytes."""
    return o.key_bytes(socket.inet_aton(front.address), bytes((front.protocol,)), front.port.to_bytes(2, "big"))


def front_of(key: bytes) -> Front:
    return Front(socket.inet_ntoa(key[:4]), key[4], int.from_bytes(key[8:10], "big"))


def backend_of(data: bytes) -> Backend:
    return Backend(socket.inet_ntoa(data[:4]), int.from_bytes(data[4:6], "big"))


def slot_of(key: bytes) -> int:
    return int.from_bytes(key[12:16], "little" if x.host32(1)[0] else "big")


def difference(old: Mapping[Key, bytes], new: Mapping[Key, bytes]) -> Change:
    gone = [(key, data) for key, data in old.items() if new.get(key) != data]
    added = [(key, data) for key, data in new.items() if old.get(key) != data]
    return Change(gone, added)


def all_shapes(plans: Iterable[ServicePlan]) -> set[Shape]:
    return {shape for plan in plans for shape in plan.shapes.values()}
