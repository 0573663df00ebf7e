"""Hooks of the creation: those that outside runs while inside waits, and those that run in here."""

from __future__ import annotations

import os

from groundplane.runtime.hooks import run_all, state_document
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
        at.wait_attached()
        at.talk.say("hooks")
        at.hear("go")


class RunHooks(Step):
    """createContainer hooks (host's files, container's namespaces) or startContainer hooks (all the container's)."""

    __slots__ = ("annotations", "bundle", "hooks", "id", "kind", "status")

    def __init__(
        self, kind: str, hooks: Sequence[Hook], id: str, status: str, bundle: str, annotations: Mapping[str, str]
    ) -> None:
        self.kind = kind
        self.hooks = hooks
        self.id = id
        self.status = status
        self.bundle = bundle
        self.annotations = annotations

    def describe(self) -> str:
        return f"running {self.kind} hooks"

    def apply(self, at: Inside) -> None:
        state = state_document(self.id, self.status, os.getpid(), self.bundle, self.annotations)
        run_all(self.kind, self.hooks, state)
