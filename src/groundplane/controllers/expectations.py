"""What a controller has written and its cache has not shown yet, so that it does not write it twice.

pkg/controller/controller_utils.go, UIDTrackingControllerExpectations. Before creating n pods a controller expects n
creations; every creation the informer tells of lowers the number; as long as it is above zero the controller looks but
does not act. Deletions are expected by uid, since one may be told twice. After five minutes an expectation is void:
better act on an old cache than never.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from groundplane.base.clock import Clock
from groundplane.client.objects import Key

EXPIRES = 300.0


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """The expectations of one controller, by the key of the owner."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._expected: dict[Key, _Expected] = {}

    def are_met(self, key: Key) -> bool:
        expected = self._expected.get(key)
        if expected is None:
            return True
        if expected.creations <= 0 and not expected.deletions:
            return True
        return self._clock.monotonic() - expected.since > EXPIRES

    def expect_creations(self, key: Key, count: int) -> None:
        self._expected[key] = _Expected(self._clock.monotonic(), creations=count)

    def expect_deletions(self, key: Key, uids: set[str]) -> None:
        self._expected[key] = _Expected(self._clock.monotonic(), deletions=uids)

    def created(self, key: Key, count: int = 1) -> None:
        """Seen, or failed: no longer expected."""
        if (expected := self._expected.get(key)) is not None:
            expected.creations -= count

    def deleted(self, key: Key, uid: str) -> None:
        if (expected := self._expected.get(key)) is not None:
            expected.deletions.discard(uid)

    def forget(self, key: Key) -> None:
        self._expected.pop(key, None)
