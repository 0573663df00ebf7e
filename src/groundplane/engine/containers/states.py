"""The states of a container and the moves between them, as one table."""

from __future__ import annotations

from groundplane.engine.contract import Conflicting, State

MOVES: dict[str, tuple[tuple[State, ...], State]] = {
    # move: (from, to)
    "start": ((State.CREATED, State.EXITED), State.RUNNING),
    "fail": ((State.CREATED, State.EXITED, State.RUNNING), State.EXITED),  # the program could not be started
    "end": ((State.RUNNING,), State.EXITED),
}


class IllegalMove(Conflicting):
    """The container's state forbids this."""


def move(id: str, state: State, what: str) -> State:
    """The state after `what`. Raises IllegalMove naming both ends."""
    sources, target = MOVES[what]
    if state not in sources:
        raise IllegalMove(f"container {id} cannot go from {state.value} to {target.value} ({what})")
    return target
