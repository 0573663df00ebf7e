"""A pure model of the store: the whole history as a list of states, nothing clever. What the drivers are judged by."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Item:
    value: bytes
    created: int
    revision: int


@dataclass(frozen=True)
class Change:
    kind: str
    key: str
    value: bytes
    revision: int
    previous: Item | None


@dataclass
class StoreModel:
    """`states[r]` is everything as of revision r; `changes[r - 1]` is what made it so, if it was ours."""

    states: list[dict[str, Item]] = field(default_factory=lambda: [{}])
    changes: list[Change | None] = field(default_factory=list)
    oldest: int = 0
    leases: dict[int, float] = field(default_factory=dict)  # number: seconds
    held: dict[str, int] = field(default_factory=dict)  # key: the lease it hangs on

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    @property
    def now(self) -> dict[str, Item]:
        return self.states[-1]

    def create(self, key: str, value: bytes, lease: int = 0) -> int | str:
        """The new revision, or the name of the error."""
        if key in self.now:
            return "KeyExists"
        return self._put("create", key, value, lease)

    def update(self, key: str, value: bytes, expected: int, lease: int = 0) -> int | str:
        if not self._is(key, expected):
            return "Conflict"
        return self._put("update", key, value, lease)

    def delete(self, key: str, expected: int) -> int | str:
        return self._put("delete", key, self.now[key].value) if self._is(key, expected) else "Conflict"

    def grant(self, number: int, seconds: float) -> None:
        self.leases[number] = seconds

    def end(self, number: int) -> str | None:
        """A lease is revoked, or its time has run out."""
        if self.leases.pop(number, None) is None:
            return "NoSuchLease"
        for key in sorted(k for k, held in self.held.items() if held == number):
            self._put("delete", key, self.now[key].value)
        return None

    def compact(self, revision: int) -> str | None:
        if revision > self.revision:
            return "FutureRevision"
        self.oldest = max(self.oldest, revision)
        return None

    def readable(self, revision: int) -> str | None:
        """The name of the error that a read or a watch at `revision` meets."""
        if revision > self.revision:
            return "FutureRevision"
        return "Compacted" if revision < self.oldest else None

    def below(self, prefix: str, start: str, revision: int) -> list[tuple[str, Item]]:
        state = self.states[revision]
        return [(k, state[k]) for k in sorted(state) if k.startswith(prefix) and k >= start]

    def after(self, prefix: str, revision: int) -> list[Change]:
        return [c for c in self.changes[revision:] if c is not None and c.key.startswith(prefix)]

    def skip_to(self, revision: int) -> None:
        """What happened up to `revision` concerned others: on etcd a store is not alone."""
        while self.revision < revision:
            self.states.append(self.now)
            self.changes.append(None)

    def _is(self, key: str, expected: int) -> bool:
        return key in self.now and self.now[key].revision == expected

    def _put(self, kind: str, key: str, value: bytes, lease: int = 0) -> int | str:
        if lease and lease not in self.leases:
            return "NoSuchLease"
        self.held.pop(key, None)
        if lease:
            self.held[key] = lease
        revision, previous = self.revision + 1, self.now.get(key)
        state = dict(self.now)
        if kind == "delete":
            del state[key]
        else:
            state[key] = Item(value, previous.created if previous else revision, revision)
        self.states.append(state)
        self.changes.append(Change(kind, key, value, revision, previous))
        return revision
