"""Hooks of the creation: those that outside runs while inside waits, and those that run in here."""

from __future__ import annotations

import os

from groundplane.runtime.hooks import encode_state, run_all
from groundplane.runtime.steps.base import Inside, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from groundplane.oci.runtime import Hook


class AskForHooks(Step):
    """Let outside run prestart and createRuntime hooks: the namespaces exist, the root has not been swapped."""

    __slots__ = ()

    def describe(self) -> str:
        return "waiting for the hooks of the runtime's namespace"

    def apply(self, at: Inside) -> None:
        at.enter_groups()
        at.talk.say("hooks")
        at.hear("go")


class RunHooks(Step):
    """createContainer hooks (host's files, container's namespaces) or startContainer hooks (all the container's)."""

    __slots__ = ("environment", "hooks", "kind", "state")

    def __init__(
        self, kind: str, hooks: Sequence[Hook], state: Mapping[str, object], environment: Mapping[str, str]
    ) -> None:
        self.kind = kind
        self.hooks = hooks
        self.state = state
        self.environment = environment  # the container's: the runtime's own is none of its business
        encode_state(state, 0)  # loads what encoding needs, while there are files to load it from

    def describe(self) -> str:
        return f"running {self.kind} hooks"

    def apply(self, at: Inside) -> None:
        at.enter_groups()  # what a hook uses counts as the container's
        directory = os.open(".", os.O_PATH | os.O_CLOEXEC)
        os.fchdir(at.root)
        try:
            run_all(self.kind, self.hooks, encode_state(self.state, os.getpid()), self.environment)
        finally:
            os.fchdir(directory)
            os.close(directory)
