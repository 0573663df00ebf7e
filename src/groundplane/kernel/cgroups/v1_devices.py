"""Device rules in order, where the last one that matches wins, as version 1's list of exceptions.

The kernel (security/device_cgroup.c) keeps one default and exceptions to it, and takes an exception away only by its
very numbers: to deny `c 1:7` after `c 1:*` was allowed changes nothing, and says nothing. So the list is worked out
here. What such a list cannot say is an error, as with runc, because a document that was believed would be worse.
"""

from __future__ import annotations

from groundplane.base.errors import GroundError
from groundplane.kernel.cgroups.contract import DeviceRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Place = tuple[str, int | None, int | None]

_ACCESS = "rwm"


def exceptions(rules: Iterable[DeviceRule]) -> list[DeviceRule]:
    """The rules to write, one by one: the default if it is among them, then its exceptions. Raises GroundError."""
    default: DeviceRule | None = None
    held: dict[Place, str] = {}
    for rule in rules:
        place = (rule.kind, rule.major, rule.minor)
        if place == ("a", None, None):
            default = rule
            held.clear()
        elif rule.allow != (default is not None and default.allow):
            held[place] = "".join(a for a in _ACCESS if a in rule.access or a in held.get(place, ""))
        else:
            _take_away(held, place, rule)
    allow = not (default is not None and default.allow)
    kept = [
        DeviceRule(allow=allow, kind=kind, major=major, minor=minor, access=access)
        for (kind, major, minor), access in held.items()
    ]
    return kept if default is None else [default, *kept]


def _take_away(held: dict[Place, str], place: Place, rule: DeviceRule) -> None:
    """What the default says of a place is said again: exceptions there end."""
    for other, access in list(held.items()):
        if not set(access) & set(rule.access) or not _meet(other, place):
            continue
        if not _within(other, place):
            had = DeviceRule(allow=not rule.allow, kind=other[0], major=other[1], minor=other[2], access=access)
            problem = f"requested rule [{rule}] not supported by devices cgroupv1 (cannot punch hole in existing "
            raise GroundError(f"{problem}wildcard rule [{had}])")
        left = "".join(a for a in access if a not in rule.access)
        if left:
            held[other] = left
        else:
            del held[other]


def _meet(one: Place, other: Place) -> bool:
    return one[0] == other[0] and all(a is None or b is None or a == b for a, b in zip(one[1:], other[1:], strict=True))


def _within(inner: Place, outer: Place) -> bool:
    return all(b is None or a == b for a, b in zip(inner[1:], outer[1:], strict=True))
